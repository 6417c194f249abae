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
INSERT INTO point (organisation_id, device_id, name, kind, quantity, unit, brick_class, scale, is_cumulative, labels,
                   write_limits)
SELECT %(organisation_id)s, t.*
  FROM unnest(%(device_id)s::bigint[], %(name)s::text[], %(kind)s::text[], %(quantity)s::text[], %(unit)s::text[],
              %(brick_class)s::text[], %(scale)s::smallint[], %(is_cumulative)s::boolean[], %(labels)s::jsonb[],
              %(write_limits)s::jsonb[]) t
ON CONFLICT (device_id, name) DO UPDATE
   SET kind = EXCLUDED.kind, quantity = EXCLUDED.quantity, unit = EXCLUDED.unit, brick_class = EXCLUDED.brick_class,
       scale = EXCLUDED.scale, is_cumulative = EXCLUDED.is_cumulative, labels = EXCLUDED.labels,
       write_limits = EXCLUDED.write_limits, retired_at = NULL
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

-- name: add_missing
-- Devices and points that announce themselves by their data. The caller holds the gateway's row.
WITH added_device AS (
    INSERT INTO device (organisation_id, gateway_id, name, label)
    SELECT %(organisation_id)s, %(gateway_id)s, t.* FROM unnest(%(name)s::text[], %(label)s::text[]) t
    ON CONFLICT (gateway_id, name) DO NOTHING
    RETURNING id, name
), there AS (
    SELECT id, name FROM added_device
    UNION ALL
    SELECT id, name FROM device WHERE gateway_id = %(gateway_id)s
), added_point AS (
    INSERT INTO point (organisation_id, device_id, name, unit)
    SELECT %(organisation_id)s, d.id, t.point, t.unit
      FROM unnest(%(device)s::text[], %(point)s::text[], %(unit)s::text[]) AS t(device, point, unit)
      JOIN there d ON d.name = t.device
    ON CONFLICT (device_id, name) DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM added_point) AS added,
       (SELECT count(*) FROM added_point)
       + (SELECT count(*) FROM point p JOIN device d ON d.id = p.device_id WHERE d.gateway_id = %(gateway_id)s) AS total;

-- name: touch_version
-- As finish_catalogue does, where there is no catalogue.
UPDATE gateway SET catalogue_version = catalogue_version + 1, last_seen_at = %(now)s WHERE id = %(gateway_id)s;

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

-- name: gateway
-- One gateway, as far as the viewer may see it.
SELECT id, organisation_id, name FROM gateway WHERE id = %(gateway_id)s;

-- name: add_configuration
-- The caller holds the gateway's row, so two people cannot offer the same version.
INSERT INTO gateway_configuration (gateway_id, version, organisation_id, site_file, offered_by, why, offered_at)
SELECT %(gateway_id)s, coalesce(max(version), 0) + 1, %(organisation_id)s, %(site_file)s, %(actor)s, %(why)s, %(now)s
  FROM gateway_configuration WHERE gateway_id = %(gateway_id)s
RETURNING version;

-- name: withdraw_configurations
-- Those that the gateway has not taken yet: a newer one replaces them.
UPDATE gateway_configuration SET state = 'withdrawn', settled_at = %(now)s
 WHERE gateway_id = %(gateway_id)s AND state = 'offered';

-- name: configurations
-- Newest first; the text only of one version, because lists do not show it.
SELECT version, state, problems, offered_by, why, offered_at, settled_at, length(site_file) AS length
  FROM gateway_configuration
 WHERE gateway_id = %(gateway_id)s
 ORDER BY version DESC
 LIMIT 50;

-- name: configuration
-- One version with its text; the newest without a number.
SELECT version, state, site_file
  FROM gateway_configuration
 WHERE gateway_id = %(gateway_id)s AND (%(version)s::integer IS NULL OR version = %(version)s)
 ORDER BY version DESC
 LIMIT 1;

-- name: settle_configuration
-- What the agent reports of a version; the same report again changes nothing.
UPDATE gateway_configuration SET state = %(state)s, problems = %(problems)s, settled_at = %(now)s
 WHERE gateway_id = %(gateway_id)s AND version = %(version)s AND state <> %(state)s AND state <> 'withdrawn'
RETURNING version;

-- name: wanted_configuration
-- What the gateway shall run with: the newest that it did not find wanting. Its text only if it runs with another.
SELECT version, CASE WHEN version IS DISTINCT FROM %(running)s THEN site_file END AS site_file
  FROM gateway_configuration
 WHERE gateway_id = %(gateway_id)s AND state IN ('offered', 'trying', 'confirmed')
 ORDER BY version DESC
 LIMIT 1;

-- name: writable_point
-- A point with its guard rails and where it is; the viewer's scope decides who sees it.
SELECT p.id, p.organisation_id, p.name, p.labels, p.unit, p.write_limits, d.name AS device_name, d.gateway_id
  FROM point p
  JOIN device d ON d.id = p.device_id
 WHERE p.id = %(point_id)s AND p.retired_at IS NULL AND d.retired_at IS NULL;

-- name: point_by_address
-- For commands typed by people: `device/point` of a gateway.
SELECT p.id
  FROM point p
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
 WHERE g.name = %(gateway)s AND d.name || '/' || p.name = %(address)s;

-- name: waiting_count
-- Commands of a gateway that are still offered.
SELECT count(*) FROM device_command
 WHERE gateway_id = %(gateway_id)s AND state = 'waiting' AND expires_at > %(now)s;

-- name: add_command
-- Offered with the gateway's next heartbeats until its result comes or it expires.
INSERT INTO device_command (organisation_id, gateway_id, point_id, value, release_after_s, made_by, why, made_at,
                            expires_at)
VALUES (%(organisation_id)s, %(gateway_id)s, %(point_id)s, %(value)s, %(release_after_s)s, %(actor)s, %(why)s, %(now)s,
        %(expires_at)s)
RETURNING id;

-- name: withdraw_command
-- Only what no gateway has answered; one that is under way may still report a result, and that is taken.
UPDATE device_command SET state = 'withdrawn', finished_at = %(now)s, reason = %(actor)s
 WHERE id = %(id)s AND state = 'waiting'
RETURNING id;

-- name: wanted_commands
-- Oldest first, so that of two orders for one point the later one holds.
SELECT c.id, d.name AS device, p.name AS point, c.value, c.made_by, c.why, c.release_after_s
  FROM device_command c
  JOIN point p ON p.id = c.point_id
  JOIN device d ON d.id = p.device_id
 WHERE c.gateway_id = %(gateway_id)s AND c.state = 'waiting' AND c.expires_at > %(now)s
 ORDER BY c.id
 LIMIT %(limit)s;

-- name: finish_command
-- The gateway's word is the truth, also when the command had been withdrawn or had expired meanwhile.
UPDATE device_command
   SET state = %(state)s, reason = %(reason)s, shown = %(shown)s, finished_at = %(at)s
 WHERE id = %(id)s AND gateway_id = %(gateway_id)s AND state IN ('waiting', 'withdrawn');

-- name: note_release
-- A release carries no number and is the agent's own doing: it ends the newest override of its point.
UPDATE device_command SET released_at = %(at)s
 WHERE id = (SELECT c.id
               FROM device_command c
               JOIN point p ON p.id = c.point_id
               JOIN device d ON d.id = p.device_id
              WHERE c.gateway_id = %(gateway_id)s AND d.name = %(device)s AND p.name = %(point)s AND c.state = 'done'
              ORDER BY c.id DESC
              LIMIT 1)
   AND released_at IS NULL;

-- name: commands
-- Newest first, of a gateway or of one device; what nobody took in time is called expired.
SELECT c.id, d.id AS device_id, d.name AS device, d.label AS device_label, p.name AS point, p.labels, p.unit, c.value,
       c.release_after_s, c.made_by, c.why, c.made_at, c.expires_at, c.reason, c.shown, c.finished_at, c.released_at,
       CASE WHEN c.state = 'waiting' AND c.expires_at <= %(now)s THEN 'expired' ELSE c.state END AS state
  FROM device_command c
  JOIN point p ON p.id = c.point_id
  JOIN device d ON d.id = p.device_id
 WHERE (%(gateway_id)s::bigint IS NULL OR c.gateway_id = %(gateway_id)s)
   AND (%(device_id)s::bigint IS NULL OR d.id = %(device_id)s)
 ORDER BY c.id DESC
 LIMIT 100;

-- name: writable_points
-- The points of a device that may be set, for the forms of its page.
SELECT id, name, labels, unit, write_limits
  FROM point
 WHERE device_id = %(device_id)s AND retired_at IS NULL AND write_limits IS NOT NULL
 ORDER BY name;
