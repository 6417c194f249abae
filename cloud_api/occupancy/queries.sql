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
