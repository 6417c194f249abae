-- Sessions of people, and the log of sign-in attempts that limits guessing. Only the system's scope reads either.

-- The cookie holds a random token; only its hash is kept, so a copy of the table opens no session.
CREATE TABLE app.user_session (
    token_sha256 bytea PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES app.app_user ON DELETE CASCADE,
    csrf_token text NOT NULL,
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX user_session_user ON app.user_session (user_id);
ALTER TABLE app.user_session ENABLE ROW LEVEL SECURITY;
CREATE POLICY system_only ON app.user_session USING ((SELECT app.viewer_kind()) = 'system');

CREATE TABLE app.login_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login text NOT NULL,
    address text NOT NULL,
    at timestamptz NOT NULL,
    succeeded boolean NOT NULL
);
CREATE INDEX login_attempt_at ON app.login_attempt (at);
ALTER TABLE app.login_attempt ENABLE ROW LEVEL SECURITY;
CREATE POLICY system_only ON app.login_attempt USING ((SELECT app.viewer_kind()) = 'system');
