-- name: intervals
-- What the tenant used in each interval of a period, over all its meters; `is_known` is false where one is missing.
-- The few registers are found first: the planner, blind behind row-level security, would begin with every interval.
WITH own AS MATERIALIZED (
    SELECT r.id AS register_id, ms.share, ms.valid, l.term
      FROM lease_space l
      JOIN meter_space ms ON ms.space_id = l.space_id
      JOIN meter m ON m.id = ms.meter_id AND m.use = 'tenant' AND m.utility = 'electricity'
      JOIN register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import'
     WHERE l.tenant_id = %(tenant_id)s
)
SELECT i.starts_at, i.ends_at,
       coalesce(sum(i.quantity * own.share) FILTER (WHERE i.quality <> 'missing'), 0) AS energy_kwh,
       bool_and(i.quality <> 'missing') AS is_known,
       bool_or(i.quality IN ('estimated', 'edited')) AS is_estimated
  FROM own
  JOIN interval i ON i.register_id = own.register_id AND own.valid @> i.starts_at
                 AND own.term @> (i.starts_at AT TIME ZONE %(zone)s)::date
 WHERE i.starts_at >= %(start)s AND i.starts_at < %(end)s
 GROUP BY i.starts_at, i.ends_at
 ORDER BY i.starts_at;

-- name: power_points
-- The power points of the tenant's own meters on a day, with their latest values.
SELECT DISTINCT ON (p.id) p.id AS point_id, v.value, v.observed_at,
       greatest(60, 3 * coalesce(d.poll_s, 0), coalesce(d.timeout_s, 0)) AS stale_after_s
  FROM lease_space l
  JOIN meter_space ms ON ms.space_id = l.space_id AND ms.valid @> %(now)s
  JOIN meter m ON m.id = ms.meter_id AND m.use = 'tenant' AND m.utility = 'electricity'
  JOIN register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import' AND r.open_period @> %(now)s
  JOIN point e ON e.id = r.point_id
  JOIN device d ON d.id = e.device_id
  JOIN point p ON p.device_id = d.id AND p.name IN ('active_power_total', 'active_power') AND p.retired_at IS NULL
  LEFT JOIN latest_value v ON v.point_id = p.id AND v.quality <= 1
 WHERE l.tenant_id = %(tenant_id)s AND l.term @> %(today)s::date;

-- name: tenant
-- The tenant itself with the spaces it leases on a day.
SELECT t.id, t.name_zh, t.name_en,
       coalesce(string_agg(DISTINCT s.name_zh, '、'), '') AS spaces_zh,
       coalesce(string_agg(DISTINCT s.name_en, ', '), '') AS spaces_en
  FROM tenant t
  LEFT JOIN lease_space l ON l.tenant_id = t.id AND l.term @> %(today)s::date
  LEFT JOIN space s ON s.id = l.space_id
 WHERE t.id = %(tenant_id)s
 GROUP BY t.id;

-- name: electricity_tariff
-- The newest revision of the electricity tariff that tenants of the viewer's site pay, with the site's calendar region.
SELECT t.content
  FROM site s
  JOIN site_tariff st ON st.site_id = s.id AND st.utility = 'electricity' AND st.payer = 'tenants'
  JOIN tariff t ON t.organisation_id = s.organisation_id AND t.code = st.tariff_code
 ORDER BY s.id, t.revision DESC LIMIT 1;
