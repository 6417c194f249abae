-- name: counted_since
-- Passages counted since an instant, by role (people_in, people_out) and counter. A counter that starts anew counts from
-- zero; the last observation before the instant is where the first difference begins.
WITH counter AS (
    SELECT ep.equipment_id, ep.role, ep.point_id
      FROM equipment e JOIN equipment_point ep ON ep.equipment_id = e.id
     WHERE e.site_id = %(site_id)s AND ep.role IN ('people_in', 'people_out')
), seen AS (
    SELECT c.equipment_id, c.role, o.observed_at, o.value,
           lag(o.value) OVER (PARTITION BY c.point_id ORDER BY o.observed_at) AS before
      FROM counter c
      CROSS JOIN LATERAL (
          (SELECT observed_at, value FROM observation
            WHERE point_id = c.point_id AND observed_at <= %(since)s AND observed_at > %(since)s - interval '1 day'
              AND quality <= 1 ORDER BY observed_at DESC LIMIT 1)
          UNION ALL
          (SELECT observed_at, value FROM observation
            WHERE point_id = c.point_id AND observed_at > %(since)s AND observed_at <= %(until)s AND quality <= 1)
      ) o
)
SELECT equipment_id, role, coalesce(sum(CASE WHEN value >= before THEN value - before ELSE value END), 0)::float8 AS passages,
       max(observed_at) AS last_at
  FROM seen WHERE before IS NOT NULL
 GROUP BY equipment_id, role;

-- name: people_by_floor
-- How many different cards were let in at the doors of each floor on a period, and through how many doors they were read.
-- A door belongs to the floor where its reader stands; nobody is named, a card is the keyed hash made at the edge.
SELECT f.id AS floor_id, f.code, f.name_zh, f.name_en, f.level_number,
       count(DISTINCT ev.data ->> 'credential')::int AS people
  FROM event ev
  JOIN device d ON d.id = ev.device_id
  JOIN equipment e ON e.site_id = %(site_id)s AND e.attributes ->> 'device' = d.name
  JOIN space s ON s.id = e.space_id
  JOIN floor f ON f.id = s.floor_id
 WHERE ev.kind = 'door.access' AND ev.occurred_at >= %(start)s AND ev.occurred_at < %(end)s
   AND ev.data ->> 'result' = 'granted' AND ev.data ->> 'credential' IS NOT NULL
 GROUP BY f.id ORDER BY f.level_number;

-- name: people_in_building
-- How many different cards were let in anywhere on the site in a period.
SELECT count(DISTINCT ev.data ->> 'credential')::int
  FROM event ev
  JOIN device d ON d.id = ev.device_id
  JOIN equipment e ON e.site_id = %(site_id)s AND e.attributes ->> 'device' = d.name
 WHERE ev.kind = 'door.access' AND ev.occurred_at >= %(start)s AND ev.occurred_at < %(end)s
   AND ev.data ->> 'result' = 'granted' AND ev.data ->> 'credential' IS NOT NULL;

-- name: entries_by_hour
-- Cards let in at the site's doors, by hour: the rhythm of a day.
SELECT date_bin('1 hour', ev.occurred_at, %(start)s::timestamptz) AS starts_at, count(*)::int AS entries
  FROM event ev
  JOIN device d ON d.id = ev.device_id
  JOIN equipment e ON e.site_id = %(site_id)s AND e.attributes ->> 'device' = d.name
 WHERE ev.kind = 'door.access' AND ev.occurred_at >= %(start)s AND ev.occurred_at < %(end)s
   AND ev.data ->> 'result' = 'granted' AND ev.data ->> 'direction' <> 'out'
 GROUP BY 1 ORDER BY 1;

-- name: people_by_tenant
-- Different cards of each tenant let in during a local day: by whose card it is, or by a door behind which only this
-- tenant held spaces on that day.
WITH seen AS (
    SELECT DISTINCT ev.data ->> 'credential' AS credential, e.id AS equipment_id, e.organisation_id
      FROM event ev
      JOIN device d ON d.id = ev.device_id
      JOIN equipment e ON e.site_id = %(site_id)s AND e.attributes ->> 'device' = d.name
     WHERE ev.kind = 'door.access' AND ev.occurred_at >= %(start)s AND ev.occurred_at < %(end)s
       AND ev.data ->> 'result' = 'granted' AND ev.data ->> 'credential' IS NOT NULL
), alone AS (
    SELECT v.equipment_id, min(x.tenant_id) AS tenant_id
      FROM equipment_serves v JOIN lease_space x ON x.space_id = v.space_id AND x.term @> %(day)s::date
      JOIN lease l ON l.id = x.lease_id AND l.status IN ('active', 'ended')
     GROUP BY v.equipment_id HAVING count(DISTINCT x.tenant_id) = 1
), carded AS (
    SELECT s.credential, s.equipment_id, c.tenant_id
      FROM seen s LEFT JOIN access_card c ON c.organisation_id = s.organisation_id AND c.credential = s.credential
                                         AND c.valid @> %(day)s::date
)
SELECT t.id AS tenant_id, t.code, t.name_zh, t.name_en, count(DISTINCT p.credential)::int AS people
  FROM carded p LEFT JOIN alone a ON a.equipment_id = p.equipment_id
  JOIN tenant t ON t.id = coalesce(p.tenant_id, a.tenant_id)
 GROUP BY t.id ORDER BY t.code;

-- name: passages_by_tenant
-- People counted into spaces during a period, by counters behind which only one tenant held spaces on the day.
WITH counter AS (
    SELECT ep.point_id, min(x.tenant_id) AS tenant_id
      FROM equipment e JOIN equipment_point ep ON ep.equipment_id = e.id AND ep.role = 'people_in'
      JOIN equipment_serves v ON v.equipment_id = e.id
      JOIN lease_space x ON x.space_id = v.space_id AND x.term @> %(day)s::date
     WHERE e.site_id = %(site_id)s GROUP BY ep.point_id HAVING count(DISTINCT x.tenant_id) = 1
), seen AS (
    SELECT c.tenant_id, o.value, lag(o.value) OVER (PARTITION BY c.point_id ORDER BY o.observed_at) AS before
      FROM counter c JOIN observation o ON o.point_id = c.point_id AND o.quality <= 1
       AND o.observed_at >= %(start)s AND o.observed_at < %(end)s
)
SELECT tenant_id, coalesce(sum(CASE WHEN value >= before THEN value - before ELSE value END), 0)::float8 AS passages
  FROM seen WHERE before IS NOT NULL GROUP BY tenant_id;

-- name: entries_without_right
-- Cards of tenants let in where no lease of theirs opened the door on that day, or after the card had ended; by door and
-- day. Nobody is named.
WITH door AS MATERIALIZED (
    SELECT d.id AS device_id, e.id, e.organisation_id, e.code, e.name_zh, e.name_en
      FROM equipment e JOIN device d ON d.name = e.attributes ->> 'device'
     WHERE e.site_id = %(site_id)s AND EXISTS (SELECT 1 FROM equipment_serves v WHERE v.equipment_id = e.id)
), passed AS MATERIALIZED (
    SELECT ev.device_id, ev.data ->> 'credential' AS credential,
           (ev.occurred_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS entries
      FROM event ev
     WHERE ev.kind = 'door.access' AND ev.occurred_at >= %(start)s AND ev.occurred_at < %(end)s
       AND ev.data ->> 'result' = 'granted' AND ev.data ->> 'credential' IS NOT NULL
       AND ev.device_id IN (SELECT device_id FROM door)
     GROUP BY 1, 2, 3
)
SELECT t.id AS tenant_id, t.code, t.name_zh, t.name_en, e.code AS door, e.name_zh AS door_zh, e.name_en AS door_en,
       p.day, NOT bool_and(c.valid @> p.day) AS is_ended_card, sum(p.entries)::int AS entries
  FROM passed p
  JOIN door e ON e.device_id = p.device_id
  JOIN LATERAL (SELECT k.tenant_id, k.valid FROM access_card k
                 WHERE k.organisation_id = e.organisation_id AND k.credential = p.credential
                   AND lower(k.valid) <= p.day ORDER BY lower(k.valid) DESC LIMIT 1) c ON true
  JOIN tenant t ON t.id = c.tenant_id
 WHERE NOT (c.valid @> p.day AND EXISTS (
       SELECT 1 FROM access_entitlement x
        WHERE x.tenant_id = c.tenant_id AND x.equipment_id = e.id AND x.valid @> p.day))
   AND (%(tenant_id)s::bigint IS NULL OR t.id = %(tenant_id)s)
 GROUP BY t.id, e.id, e.code, e.name_zh, e.name_en, p.day ORDER BY p.day DESC, t.code, e.code LIMIT %(limit)s;
