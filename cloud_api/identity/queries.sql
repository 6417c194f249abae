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
-- Replaces the password hash and ends the user's sessions.
WITH ended AS (DELETE FROM user_session WHERE user_id = %(user_id)s)
UPDATE app_user SET password_hash = %(password_hash)s WHERE id = %(user_id)s;

-- name: insert_session
-- A session starts; only the hash of its token is kept.
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
