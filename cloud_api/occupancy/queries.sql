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
