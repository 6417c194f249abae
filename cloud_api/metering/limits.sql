-- name: limits
-- What an organisation set instead of the built-in limits.
SELECT use, limits, reason, actor, changed_at FROM vee_limit WHERE organisation_id = %(organisation_id)s;

-- name: set_limits
-- The newest limits hold; the audit keeps the earlier ones.
INSERT INTO vee_limit (organisation_id, use, limits, reason, actor, changed_at)
VALUES (%(organisation_id)s, %(use)s, %(limits)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (organisation_id, use) DO UPDATE
   SET limits = EXCLUDED.limits, reason = EXCLUDED.reason, actor = EXCLUDED.actor, changed_at = EXCLUDED.changed_at;

-- name: forget_limits
-- Back to the built-in ones.
DELETE FROM vee_limit WHERE organisation_id = %(organisation_id)s AND use = %(use)s;
