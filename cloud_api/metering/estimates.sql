-- name: check_meter
-- The meter that measures the same once more: named by the attribute `check_meter` (its code), on the same site and with
-- intervals of the same length at that time.
SELECT c.id
  FROM meter m
  JOIN meter c ON c.site_id = m.site_id AND c.code = m.attributes ->> 'check_meter'
              AND interval_minutes_at(c.id, %(at)s) = interval_minutes_at(m.id, %(at)s) AND c.id <> m.id
 WHERE m.id = %(meter_id)s;

-- name: day_kinds
-- Holidays and make-up workdays of the site's region; other days are told by their weekday.
SELECT h.day, CASE h.kind WHEN 'holiday' THEN 'holiday' ELSE 'weekday' END AS kind
  FROM site s
  JOIN holiday_calendar h ON h.region IN (s.region, split_part(s.region, '-', 1))
 WHERE s.id = %(site_id)s AND h.day BETWEEN %(first)s AND %(last)s
 ORDER BY h.day, h.region = s.region;

-- name: outdoor_temperatures
-- Mean outdoor temperature by local day, from the points with the role of outdoor air.
SELECT (o.observed_at AT TIME ZONE s.time_zone)::date AS day, avg(o.value) AS mean
  FROM site s
  JOIN equipment e ON e.site_id = s.id
  JOIN equipment_point ep ON ep.equipment_id = e.id AND ep.role = 'oat'
  JOIN observation o ON o.point_id = ep.point_id AND o.quality = 0 AND o.value IS NOT NULL
 WHERE s.id = %(site_id)s
   AND o.observed_at >= %(first)s::date::timestamp AT TIME ZONE s.time_zone
   AND o.observed_at < (%(last)s::date + 1)::timestamp AT TIME ZONE s.time_zone
 GROUP BY 1;
