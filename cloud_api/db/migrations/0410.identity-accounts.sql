-- The life of an account: the link by which a person sets a password, the last sign-in, and who is signed out when.

ALTER TABLE app.app_user ADD COLUMN last_sign_in_at timestamptz;

-- A tenant's people see no account but their own company's; until here they saw all of the organisation.
DROP POLICY by_organisation ON app.app_user;
SELECT app.protect_by_tenant('app.app_user');

-- Whoever holds the link may set the password, once. Only a hash is kept, and of the links of a person only the newest.
CREATE TABLE app.password_link (
    user_id bigint PRIMARY KEY REFERENCES app.app_user ON DELETE CASCADE,
    token_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
ALTER TABLE app.password_link ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_own_staff ON app.password_link USING (
    (SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND EXISTS (SELECT FROM app.app_user u WHERE u.id = user_id)));

-- Sessions are the system's, so that nobody reads those of others; an administrator's change still ends them.
CREATE FUNCTION app.sign_out() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM app.user_session WHERE user_id = NEW.id;
    DELETE FROM app.password_link WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER signs_out AFTER UPDATE ON app.app_user FOR EACH ROW
    WHEN (OLD.password_hash IS DISTINCT FROM NEW.password_hash OR OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION app.sign_out();
