-- name: user_for_login
-- The account that a sign-in names, with its password hash.
SELECT id, organisation_id, tenant_id, login, display_name, roles, language, password_hash
  FROM app_user WHERE login = %(login)s AND is_active;

-- name: insert_user
-- A new account; a login that exists returns no row.
INSERT INTO app_user (organisation_id, tenant_id, login, display_name, email, password_hash, roles, language)
VALUES (%(organisation_id)s, %(tenant_id)s, %(login)s, %(display_name)s, %(email)s, %(password_hash)s, %(roles)s,
        %(language)s)
ON CONFLICT (login) DO NOTHING RETURNING id;

-- name: set_password
-- Replaces the password hash, or takes it away; a trigger ends the person's sessions and links.
UPDATE app_user SET password_hash = %(password_hash)s WHERE id = %(user_id)s;

-- name: insert_session
-- A session starts; only the hash of its token is kept.
WITH signed_in AS (UPDATE app_user SET last_sign_in_at = %(now)s WHERE id = %(user_id)s)
INSERT INTO user_session (token_sha256, user_id, csrf_token, created_at, last_seen_at, expires_at)
VALUES (%(token_sha256)s, %(user_id)s, %(csrf_token)s, %(now)s, %(now)s, %(expires_at)s);

-- name: session_by_token
-- The session behind a cookie, if it has not expired and its user is still active.
SELECT u.id, u.organisation_id, u.tenant_id, u.login, u.display_name, u.roles, u.language, u.password_hash,
       s.csrf_token, s.last_seen_at
  FROM user_session s JOIN app_user u ON u.id = s.user_id
 WHERE s.token_sha256 = %(token_sha256)s AND s.expires_at > %(now)s AND u.is_active;

-- name: touch_session
-- Use prolongs a session.
UPDATE user_session SET last_seen_at = %(now)s, expires_at = %(expires_at)s WHERE token_sha256 = %(token_sha256)s;

-- name: delete_session
-- Signing out, or a cookie that is replaced.
DELETE FROM user_session WHERE token_sha256 = %(token_sha256)s;

-- name: delete_expired
-- Housekeeping at sign-in: expired sessions and attempts that no limit looks at any more.
WITH old AS (DELETE FROM login_attempt WHERE at < %(now)s - interval '1 day')
DELETE FROM user_session WHERE expires_at <= %(now)s;

-- name: failed_attempts
-- Failures since an instant: for this login, and from this address for whatever login.
SELECT count(*) FILTER (WHERE login = %(login)s)::int, count(*) FILTER (WHERE address = %(address)s)::int
  FROM login_attempt
 WHERE at > %(since)s AND NOT succeeded AND (login = %(login)s OR address = %(address)s);

-- name: insert_attempt
-- One try to sign in.
INSERT INTO login_attempt (login, address, at, succeeded) VALUES (%(login)s, %(address)s, %(now)s, %(succeeded)s);

-- name: set_language
-- The person's choice of language.
UPDATE app_user SET language = %(language)s WHERE id = %(user_id)s;

-- name: insert_audit
-- Append-only: who did what to which subject, and why.
INSERT INTO audit_entry (organisation_id, at, actor, action, subject, reason, detail)
VALUES (%(organisation_id)s, %(at)s, %(actor)s, %(action)s, %(subject)s, %(reason)s, %(detail)s);

-- name: organisation_by_code
-- For commands, which name an organisation by its code; without a code, the only one there is.
SELECT id FROM organisation WHERE %(code)s::text IS NULL OR code = %(code)s ORDER BY id LIMIT 2;

-- name: tenant_by_code
-- For commands, which name a tenant by its code.
SELECT id FROM tenant WHERE organisation_id = %(organisation_id)s AND code = %(code)s;

-- name: people
-- Accounts of an organisation, or the one of an id or a login: staff first, then by company.
SELECT u.id, u.organisation_id, u.tenant_id, u.login, u.display_name, u.roles, u.language, u.is_active, u.created_at,
       u.last_sign_in_at, u.password_hash IS NOT NULL AS has_password, l.expires_at AS link_expires_at,
       t.name_zh, t.name_en
  FROM app_user u LEFT JOIN tenant t ON t.id = u.tenant_id LEFT JOIN password_link l ON l.user_id = u.id
 WHERE (%(organisation_id)s::bigint IS NULL OR u.organisation_id = %(organisation_id)s)
   AND (%(user_id)s::bigint IS NULL OR u.id = %(user_id)s) AND (%(login)s::text IS NULL OR u.login = %(login)s)
 ORDER BY t.name_en NULLS FIRST, u.is_active DESC, u.display_name, u.id LIMIT 2000;

-- name: lock_administrators
-- Who could still manage accounts, locked: two administrators cannot remove each other at the same moment.
SELECT id FROM app_user
 WHERE organisation_id = %(organisation_id)s AND 'admin' = ANY (roles) AND is_active AND password_hash IS NOT NULL
 ORDER BY id FOR UPDATE;

-- name: set_roles
-- What the person does from now on; the next page view reads it.
UPDATE app_user SET roles = %(roles)s WHERE id = %(user_id)s;

-- name: set_active
-- Closes or opens an account; a trigger ends the sessions.
UPDATE app_user SET is_active = %(is_active)s WHERE id = %(user_id)s;

-- name: put_password_link
-- A new link takes the place of the last one.
INSERT INTO password_link (user_id, token_sha256, created_at, expires_at)
VALUES (%(user_id)s, %(token_sha256)s, %(now)s, %(expires_at)s)
ON CONFLICT (user_id) DO UPDATE
   SET token_sha256 = excluded.token_sha256, created_at = excluded.created_at, expires_at = excluded.expires_at;

-- name: account_by_link
-- The account that a link opens. Locked: of two at once, one sets the password and the other finds the link used.
SELECT u.id, u.organisation_id, u.tenant_id, u.login, u.display_name, u.roles, u.language, u.password_hash
  FROM password_link l JOIN app_user u ON u.id = l.user_id
 WHERE l.token_sha256 = %(token_sha256)s AND l.expires_at > %(now)s AND u.is_active FOR UPDATE OF l;

-- name: account_changes
-- The last changes to accounts of an organisation, or to one account.
SELECT at, actor, action, subject, detail FROM audit_entry
 WHERE organisation_id = %(organisation_id)s AND action LIKE 'user.%%'
   AND (%(login)s::text IS NULL OR subject = %(login)s)
 ORDER BY at DESC, id DESC LIMIT 30;
