-- name: sites
-- The sites of the viewer's organisation; the first is shown.
SELECT id, code, name_zh, name_en, time_zone, currency, contract_demand_kw FROM site ORDER BY id;

-- name: meters
-- Every electricity meter of a site with its power point and the latest power, in the order of the meter tree.
SELECT m.id, m.code, m.name_zh, m.name_en, m.use, m.parent_meter_id, r.id AS register_id, f.level_number,
       p.id AS point_id, v.value, v.observed_at,
       greatest(60, 3 * coalesce(d.poll_s, 0), coalesce(d.timeout_s, 0)) AS stale_after_s
  FROM meter m
  LEFT JOIN register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import' AND r.open_period @> %(now)s
  LEFT JOIN point e ON e.id = r.point_id
  LEFT JOIN device d ON d.id = e.device_id
  LEFT JOIN LATERAL (SELECT id FROM point
                      WHERE device_id = e.device_id AND name IN ('active_power_total', 'active_power') AND retired_at IS NULL
                      ORDER BY name DESC LIMIT 1) p ON true
  LEFT JOIN latest_value v ON v.point_id = p.id AND v.quality <= 1
  LEFT JOIN LATERAL (SELECT min(floor.level_number) AS level_number
                       FROM meter_space ms JOIN space s ON s.id = ms.space_id JOIN floor ON floor.id = s.floor_id
                      WHERE ms.meter_id = m.id AND ms.valid @> %(now)s) f ON true
 WHERE m.site_id = %(site_id)s AND m.utility = 'electricity'
 ORDER BY m.use, f.level_number NULLS LAST, m.code;

-- name: tenant_meters
-- Which tenant's own meters serve spaces that it leases on a day.
SELECT DISTINCT t.id AS tenant_id, t.code, t.name_zh, t.name_en, m.id AS meter_id,
       (SELECT string_agg(DISTINCT s2.code, ', ') FROM lease_space l2 JOIN space s2 ON s2.id = l2.space_id
         WHERE l2.tenant_id = t.id AND l2.term @> %(today)s::date) AS spaces
  FROM meter m
  JOIN meter_space ms ON ms.meter_id = m.id AND ms.valid @> %(now)s
  JOIN lease_space l ON l.space_id = ms.space_id AND l.term @> %(today)s::date
  JOIN tenant t ON t.id = l.tenant_id
 WHERE m.site_id = %(site_id)s AND m.utility = 'electricity' AND m.use = 'tenant'
 ORDER BY t.code, m.id;

-- name: equipment_points
-- The latest values of points that an equipment plays a role with: room air, outdoor air.
SELECT e.id AS equipment_id, e.code, ep.role, ep.point_id, p.unit, v.value, v.observed_at,
       greatest(60, 3 * coalesce(d.poll_s, 0), coalesce(d.timeout_s, 0)) AS stale_after_s,
       s.id AS space_id, s.code AS space_code, s.name_zh, s.name_en, f.level_number
  FROM equipment e
  JOIN equipment_point ep ON ep.equipment_id = e.id
  JOIN point p ON p.id = ep.point_id
  JOIN device d ON d.id = p.device_id
  LEFT JOIN latest_value v ON v.point_id = p.id AND v.quality <= 1
  LEFT JOIN space s ON s.id = e.space_id
  LEFT JOIN floor f ON f.id = s.floor_id
 WHERE e.site_id = %(site_id)s AND ep.role = ANY(%(roles)s)
 ORDER BY f.level_number NULLS LAST, s.code, e.code;

-- name: intervals
-- The energy of one register in a period, for the curve and the band; intervals without a value are left out.
SELECT starts_at, ends_at, quantity, quality FROM interval
 WHERE register_id = %(register_id)s AND starts_at >= %(start)s AND starts_at < %(end)s AND quality <> 'missing'
 ORDER BY starts_at;

-- name: visible_points
-- Those of the given points that the viewer may see: row-level security decides.
SELECT id FROM point WHERE id = ANY(%(points)s);

-- name: device_points
-- Every point of a device with its latest value, as good as it is.
SELECT p.id AS point_id, p.name, p.kind, p.quantity, p.unit, p.is_cumulative, v.value, v.observed_at, v.quality,
       greatest(60, 3 * coalesce(d.poll_s, 0), coalesce(d.timeout_s, 0)) AS stale_after_s
  FROM point p
  JOIN device d ON d.id = p.device_id
  LEFT JOIN latest_value v ON v.point_id = p.id
 WHERE p.device_id = %(device_id)s AND p.retired_at IS NULL
 ORDER BY p.kind, p.name;
