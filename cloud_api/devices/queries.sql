-- name: credential
-- What a gateway presents is compared with this hash in constant time; a revoked credential is not found.
SELECT c.gateway_id, c.secret_sha256, g.organisation_id, g.name, g.is_enabled
  FROM gateway_credential c
  JOIN gateway g ON g.id = c.gateway_id
 WHERE c.key_id = %(key_id)s AND c.revoked_at IS NULL;

-- name: sites_by_code
-- A site's code is unique only within its organisation, so a command may find several.
SELECT s.id, s.organisation_id, o.code AS organisation_code
  FROM site s
  JOIN organisation o ON o.id = s.organisation_id
 WHERE s.code = %(code)s
 ORDER BY s.id;

-- name: add_gateway
-- Returns nothing when the name is taken.
INSERT INTO gateway (organisation_id, site_id, name, label)
VALUES (%(organisation_id)s, %(site_id)s, %(name)s, %(label)s)
ON CONFLICT (name) DO NOTHING
RETURNING id;

-- name: gateway_by_name
-- For commands: the gateway a credential shall belong to.
SELECT id, organisation_id, site_id, name FROM gateway WHERE name = %(name)s;

-- name: gateways
-- Every gateway the viewer may see, for health pages.
SELECT g.id, g.site_id, g.name, g.label, g.last_seen_at, g.clock_offset_ms, g.health, g.agent, g.is_enabled,
       count(d.id) FILTER (WHERE d.retired_at IS NULL) AS device_count,
       count(d.id) FILTER (WHERE d.retired_at IS NULL AND d.state = 'offline') AS offline_count
  FROM gateway g
  LEFT JOIN device d ON d.gateway_id = g.id
 GROUP BY g.id
 ORDER BY g.name;

-- name: devices
-- Devices with their state, optionally of one gateway; retired ones last.
SELECT d.id, d.gateway_id, g.name AS gateway_name, d.name, d.label, d.profile, d.profile_revision, d.bus, d.address,
       d.poll_s, d.timeout_s, d.attributes, d.state, d.state_since, d.last_error, d.retired_at
  FROM device d
  JOIN gateway g ON g.id = d.gateway_id
 WHERE %(gateway_id)s::bigint IS NULL OR d.gateway_id = %(gateway_id)s
 ORDER BY (d.retired_at IS NOT NULL), g.name, d.name;

-- name: add_credential
-- Only the hash of the secret is kept.
INSERT INTO gateway_credential (key_id, gateway_id, secret_sha256, created_at)
VALUES (%(key_id)s, %(gateway_id)s, %(secret_sha256)s, %(now)s);

-- name: revoke_credentials
-- Used when a credential leaked: the gateway must be given a new one.
UPDATE gateway_credential SET revoked_at = %(now)s WHERE gateway_id = %(gateway_id)s AND revoked_at IS NULL;

-- name: add_audit_entry
-- Whatever can change a device or a right is recorded.
INSERT INTO audit_entry (organisation_id, at, actor, action, subject, reason)
VALUES (%(organisation_id)s, %(now)s, %(actor)s, %(action)s, %(subject)s, %(reason)s);

-- name: lock_gateway
-- One catalogue at a time per gateway.
SELECT organisation_id, catalogue_revision, catalogue_version FROM gateway WHERE id = %(gateway_id)s FOR NO KEY UPDATE;

-- name: put_devices
-- Known devices take the new description and come back from retirement.
INSERT INTO device (organisation_id, gateway_id, name, label, profile, profile_revision, bus, address, poll_s, timeout_s,
                    attributes)
SELECT %(organisation_id)s, %(gateway_id)s, t.*
  FROM unnest(%(name)s::text[], %(label)s::text[], %(profile)s::text[], %(profile_revision)s::text[], %(bus)s::text[],
              %(address)s::text[], %(poll_s)s::float8[], %(timeout_s)s::float8[], %(attributes)s::jsonb[]) t
ON CONFLICT (gateway_id, name) DO UPDATE
   SET label = EXCLUDED.label, profile = EXCLUDED.profile, profile_revision = EXCLUDED.profile_revision,
       bus = EXCLUDED.bus, address = EXCLUDED.address, poll_s = EXCLUDED.poll_s, timeout_s = EXCLUDED.timeout_s,
       attributes = EXCLUDED.attributes, retired_at = NULL
RETURNING id, name;

-- name: retire_devices
-- A device that is no longer in the catalogue keeps its history.
UPDATE device SET retired_at = %(now)s
 WHERE gateway_id = %(gateway_id)s AND name <> ALL (%(name)s::text[]) AND retired_at IS NULL;

-- name: put_points
-- Known points take the new description and keep their id, so their history stays in one piece.
INSERT INTO point (organisation_id, device_id, name, kind, quantity, unit, brick_class, scale, is_cumulative, labels)
SELECT %(organisation_id)s, t.*
  FROM unnest(%(device_id)s::bigint[], %(name)s::text[], %(kind)s::text[], %(quantity)s::text[], %(unit)s::text[],
              %(brick_class)s::text[], %(scale)s::smallint[], %(is_cumulative)s::boolean[], %(labels)s::jsonb[]) t
ON CONFLICT (device_id, name) DO UPDATE
   SET kind = EXCLUDED.kind, quantity = EXCLUDED.quantity, unit = EXCLUDED.unit, brick_class = EXCLUDED.brick_class,
       scale = EXCLUDED.scale, is_cumulative = EXCLUDED.is_cumulative, labels = EXCLUDED.labels, retired_at = NULL
RETURNING id;

-- name: retire_points
-- Points of this gateway that the catalogue no longer lists.
UPDATE point p SET retired_at = %(now)s
  FROM device d
 WHERE d.id = p.device_id AND d.gateway_id = %(gateway_id)s
   AND p.id <> ALL (%(id)s::bigint[]) AND p.retired_at IS NULL;

-- name: finish_catalogue
-- The version tells other processes that what they remember of this gateway's points is old.
UPDATE gateway
   SET catalogue_revision = %(revision)s, catalogue_received_at = %(now)s, catalogue_version = catalogue_version + 1,
       agent = %(agent)s, last_seen_at = %(now)s
 WHERE id = %(gateway_id)s;

-- name: touch_catalogue
-- The same catalogue again: only the agent may have been restarted.
UPDATE gateway SET agent = %(agent)s, last_seen_at = %(now)s WHERE id = %(gateway_id)s;

-- name: point_addresses
-- Every point of a gateway by the address used on the wire.
SELECT d.name || '/' || p.name AS address, p.id
  FROM point p
  JOIN device d ON d.id = p.device_id
 WHERE d.gateway_id = %(gateway_id)s;

-- name: device_names
-- Every device of a gateway by its name.
SELECT name, id FROM device WHERE gateway_id = %(gateway_id)s;

-- name: record_heartbeat
-- What the agent says of itself; the newest wins because the agent sends one after the other.
UPDATE gateway SET last_seen_at = %(now)s, clock_offset_ms = %(clock_offset_ms)s, health = %(health)s
 WHERE id = %(gateway_id)s;

-- name: set_device_states
-- Newer statements win, whichever way they travelled; returns the devices whose state or error changed.
UPDATE device d
   SET state = t.state, last_error = t.last_error,
       state_since = CASE WHEN d.state = t.state THEN coalesce(d.state_since, t.since) ELSE t.since END
  FROM unnest(%(device_id)s::bigint[], %(state)s::text[], %(since)s::timestamptz[], %(last_error)s::text[])
       AS t(device_id, state, since, last_error)
 WHERE d.id = t.device_id
   AND (d.state, d.last_error) IS DISTINCT FROM (t.state, t.last_error)
   AND (d.state_since IS NULL OR t.since >= d.state_since)
RETURNING d.id;
