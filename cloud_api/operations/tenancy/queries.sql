-- name: lease
-- The lease that is handed over, held until the transaction ends.
SELECT l.id, l.organisation_id, l.tenant_id, l.number, l.status, lower(l.term) AS starts_on, upper(l.term) AS ends_on
  FROM lease l WHERE l.organisation_id = %(organisation_id)s AND l.number = %(number)s FOR UPDATE;

-- name: open_accounts
-- Other leases that still run on the lease's spaces on a day, or ended without having been moved out.
SELECT s.code AS space, o.number
  FROM lease_space mine
  JOIN lease_space x ON x.space_id = mine.space_id AND x.lease_id <> mine.lease_id AND lower(x.term) < %(day)s::date
  JOIN lease o ON o.id = x.lease_id AND o.status = 'active'
  JOIN space s ON s.id = x.space_id
 WHERE mine.lease_id = %(lease_id)s;

-- name: registers
-- The energy registers that measure the lease's spaces at an instant, with the last telemetry reading up to an hour old.
SELECT DISTINCT ON (r.id) r.id AS register_id, m.code AS meter, o.observed_at AS taken_at,
       o.mantissa * power(10::numeric, -o.scale) AS value
  FROM lease_space x
  JOIN meter_space ms ON ms.space_id = x.space_id AND ms.valid @> %(at)s::timestamptz
  JOIN meter m ON m.id = ms.meter_id AND m.use = 'tenant'
  JOIN register r ON r.meter_id = m.id AND r.open_period @> %(at)s::timestamptz
                 AND r.quantity NOT LIKE 'reactive%%'
  LEFT JOIN LATERAL (
      SELECT o.observed_at, o.mantissa, o.scale FROM observation o
       WHERE o.point_id = r.point_id AND o.mantissa IS NOT NULL
         AND o.observed_at BETWEEN %(at)s::timestamptz - interval '1 hour' AND %(at)s::timestamptz
       ORDER BY o.observed_at DESC LIMIT 1) o ON true
 WHERE x.lease_id = %(lease_id)s
 ORDER BY r.id;

-- name: add_readings
-- What was read off at the handover, where no telemetry tells it.
INSERT INTO reading (register_id, taken_at, value, source, received_at)
SELECT t.register_id, %(at)s, t.value, 'handover', %(now)s
  FROM unnest(%(register_id)s::bigint[], %(value)s::numeric[]) AS t(register_id, value)
    ON CONFLICT (register_id, taken_at, source) DO UPDATE SET value = EXCLUDED.value;

-- name: activate
-- The lease runs from its first day.
UPDATE lease SET status = 'active' WHERE id = %(lease_id)s;

-- name: entitle
-- Air-conditioning hours that belong to the lease.
INSERT INTO hvac_hours (organisation_id, tenant_id, lease_id, weekday, starts, ends, valid)
SELECT l.organisation_id, l.tenant_id, l.id, t.weekday, t.starts, t.ends, l.term
  FROM lease l, unnest(%(weekday)s::smallint[], %(starts)s::time[], %(ends)s::time[]) AS t(weekday, starts, ends)
 WHERE l.id = %(lease_id)s
    ON CONFLICT DO NOTHING;

-- name: end_lease
-- The lease ends on a day; its later part never was.
UPDATE lease SET status = 'ended', term = daterange(lower(term), %(after)s) WHERE id = %(lease_id)s;

-- name: forget_later_spaces
-- Spaces that would only have begun after the end.
DELETE FROM lease_space WHERE lease_id = %(lease_id)s AND lower(term) >= %(after)s;

-- name: end_spaces
-- The spaces are free from the day after.
UPDATE lease_space SET term = daterange(lower(term), %(after)s)
 WHERE lease_id = %(lease_id)s AND (upper_inf(term) OR upper(term) > %(after)s);

-- name: end_hvac_hours
-- Entitlements end with the lease.
UPDATE hvac_hours SET valid = daterange(lower(valid), %(after)s)
 WHERE lease_id = %(lease_id)s AND lower(valid) < %(after)s AND (upper_inf(valid) OR upper(valid) > %(after)s);

-- name: end_head_counts
-- Nobody is counted after the end.
UPDATE head_count SET valid = daterange(lower(valid), %(after)s)
 WHERE lease_id = %(lease_id)s AND lower(valid) < %(after)s AND (upper_inf(valid) OR upper(valid) > %(after)s);

-- name: add_step
-- Who did what with the lease.
INSERT INTO lease_step (organisation_id, tenant_id, lease_id, at, actor, step, detail)
SELECT organisation_id, tenant_id, id, %(at)s, %(actor)s, %(step)s, %(detail)s FROM lease WHERE id = %(lease_id)s;

-- name: add_application
-- A company asks for spaces: an application, not a lease yet.
INSERT INTO lease (organisation_id, tenant_id, number, status, term, source_system, external_id)
VALUES (%(organisation_id)s, %(tenant_id)s, %(number)s, 'application', daterange(%(first)s, %(after)s), 'park', %(number)s)
RETURNING id;

-- name: reserve
-- An approved application holds its spaces; one that another lease holds is refused by the database.
INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term)
SELECT l.organisation_id, l.tenant_id, l.id, s.id, l.term
  FROM lease l, space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
 WHERE l.id = %(lease_id)s AND b.site_id = %(site_id)s AND s.code = ANY(%(spaces)s) AND s.use IN ('lettable', 'shared')
RETURNING space_id;

-- name: set_status
-- One step of the life of a lease.
UPDATE lease SET status = %(status)s, attributes = attributes || %(attributes)s WHERE id = %(lease_id)s;

-- name: attributes
-- What the application asked for.
SELECT attributes FROM lease WHERE id = %(lease_id)s;

-- name: leases
-- Every lease with its spaces, newest first.
SELECT l.id, l.number, l.status, lower(l.term) AS starts_on, upper(l.term) - 1 AS last_day, t.code AS tenant,
       t.name_zh, t.name_en,
       coalesce((SELECT string_agg(s.code, ', ' ORDER BY s.code) FROM lease_space x JOIN space s ON s.id = x.space_id
                  WHERE x.lease_id = l.id), '') AS spaces,
       (SELECT sum(coalesce(x.area_m2, s.area_m2)) FROM lease_space x JOIN space s ON s.id = x.space_id
         WHERE x.lease_id = l.id) AS area_m2,
       (SELECT h.people FROM head_count h WHERE h.lease_id = l.id ORDER BY h.valid DESC LIMIT 1) AS people
  FROM lease l JOIN tenant t ON t.id = l.tenant_id
 WHERE l.organisation_id = %(organisation_id)s
 ORDER BY l.status = 'ended', lower(l.term) DESC, l.number LIMIT 500;

-- name: steps
-- The history of a lease.
SELECT at, actor, step, detail FROM lease_step WHERE lease_id = %(lease_id)s ORDER BY id;
