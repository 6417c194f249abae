-- name: meters_to_check
-- Meters with the register that counts what they are read for, and what the checks need to know of them.
SELECT m.id, m.use, m.organisation_id, m.attributes, s.time_zone, r.id AS register_id, r.quantity,
       interval_lengths(m.id, m.interval_minutes) AS lengths,
       lower(r.open_period) AS opened_at, (SELECT min(i.starts_at) FROM interval i WHERE i.register_id = r.id) AS first_at,
       EXISTS (SELECT 1 FROM meter c WHERE c.parent_meter_id = m.id AND c.use <> 'check' AND c.utility = m.utility)
           AS is_parent
  FROM meter m
  JOIN site s ON s.id = m.site_id
  JOIN register r ON r.meter_id = m.id AND upper_inf(r.open_period)
   AND r.quantity IN ('active_energy_import', 'water_volume', 'gas_volume', 'heat_energy', 'cooling_energy');

-- name: device_facts
-- What the register's device multiplies with, the factor that holds now, and how far clocks stood beside the reference:
-- the device's own (a point `reading_time`, seconds since 1970), its gateway's now and where that jumped during a day.
SELECT (SELECT coalesce(l.exact, l.value::numeric) FROM point x JOIN latest_value l ON l.point_id = x.id
         WHERE x.device_id = d.id AND x.name = 'ct_ratio' AND l.quality <= 1) AS ct,
       (SELECT coalesce(l.exact, l.value::numeric) FROM point x JOIN latest_value l ON l.point_id = x.id
         WHERE x.device_id = d.id AND x.name = 'pt_ratio' AND l.quality <= 1) AS pt,
       coalesce((SELECT f.multiplier FROM register_multiplier f
                  WHERE f.register_id = r.id AND f.undone_at IS NULL AND f.valid @> %(now)s::timestamptz), r.multiplier)
           AS factor,
       (SELECT coalesce(l.exact, l.value::numeric) - extract(epoch FROM l.observed_at)
          FROM point x JOIN latest_value l ON l.point_id = x.id
         WHERE x.device_id = d.id AND x.name = 'reading_time' AND l.quality <= 1) AS own_drift_s,
       CASE WHEN g.last_seen_at > %(now)s::timestamptz - interval '1 day' THEN g.clock_offset_ms / 1000.0 END AS offset_s,
       (SELECT (e.data ->> 'jump_ms')::numeric / 1000 FROM event e
         WHERE e.gateway_id = g.id AND e.kind = 'clock.jump' AND jsonb_typeof(e.data -> 'jump_ms') = 'number'
           AND e.occurred_at > %(now)s::timestamptz - interval '1 day' AND e.occurred_at <= %(now)s
         ORDER BY abs((e.data ->> 'jump_ms')::numeric) DESC LIMIT 1) AS jump_s
  FROM register r
  JOIN point p ON p.id = r.point_id
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
 WHERE r.id = %(register_id)s;

-- name: standing_findings
-- What was said of a meter as a whole and still stands, or was accepted, the newest first.
SELECT check_name, detail, starts_at, ends_at FROM vee_finding
 WHERE register_id = %(register_id)s AND check_name = ANY (%(checks)s::text[]) AND state <> 'gone'
 ORDER BY starts_at DESC LIMIT 50;

-- name: day_totals
-- Totals of complete local days before a day, for the comparison with like days.
SELECT d.register_id, d.day, d.quantity
  FROM interval_day d
 WHERE d.register_id = ANY (%(register_id)s::bigint[]) AND d.day >= %(first)s AND d.day < %(after)s
   AND d.missing_count = 0;

-- name: reactive_by_day
-- What a meter counted in kvarh on complete local days, forward and backward.
SELECT d.day, sum(abs(d.quantity)) AS quantity
  FROM interval_day d
  JOIN register r ON r.id = d.register_id
 WHERE r.meter_id = %(meter_id)s AND r.quantity IN ('reactive_energy_import', 'reactive_energy_export')
   AND d.day >= %(first)s AND d.day < %(after)s AND d.missing_count = 0
 GROUP BY d.day;

-- name: siblings_by_day
-- How many intervals the other channels of a meter measured on each local day of their life: those that counted before
-- that day and whose register was open all along it. What people read by hand is not expected every day.
SELECT t.day::date AS day, r.quantity,
       coalesce(sum(d.interval_count - d.estimated_count - d.missing_count), 0)::integer AS measured
  FROM generate_series(%(first)s::date::timestamp, %(after)s::date::timestamp - interval '1 day', interval '1 day')
       AS t(day)
  JOIN register r ON r.meter_id = %(meter_id)s AND r.quantity <> %(quantity)s
   AND (r.point_id IS NOT NULL OR r.is_delta)
   AND r.open_period @> tstzrange(t.day AT TIME ZONE %(zone)s, (t.day + interval '1 day') AT TIME ZONE %(zone)s)
   AND (SELECT min(i.starts_at) FROM interval i WHERE i.register_id = r.id) <= t.day AT TIME ZONE %(zone)s
  LEFT JOIN interval_day d ON d.register_id = r.id AND d.day = t.day::date
 GROUP BY t.day, r.quantity;

-- name: keep_findings
-- A finding that someone settled stays settled as long as it says the same.
INSERT INTO vee_finding AS f (organisation_id, register_id, starts_at, ends_at, check_name, detail, found_at)
SELECT t.organisation_id, t.register_id, t.starts_at, t.ends_at, t.check_name, t.detail, %(now)s
  FROM unnest(%(organisation_id)s::bigint[], %(register_id)s::bigint[], %(starts_at)s::timestamptz[],
              %(ends_at)s::timestamptz[], %(check_name)s::text[], %(detail)s::jsonb[])
       AS t(organisation_id, register_id, starts_at, ends_at, check_name, detail)
ON CONFLICT (register_id, check_name, starts_at) DO UPDATE
   SET ends_at = EXCLUDED.ends_at, detail = EXCLUDED.detail, found_at = EXCLUDED.found_at,
       state = CASE WHEN f.state = 'gone' OR f.ends_at < EXCLUDED.ends_at
                      OR f.check_name = ANY (%(standing)s::text[]) AND f.detail <> EXCLUDED.detail
                    THEN 'open' ELSE f.state END;

-- name: forget_findings
-- What the readings have settled since is no longer on the list.
UPDATE vee_finding f SET state = 'gone', settled_at = %(now)s
 WHERE f.state = 'open' AND f.register_id = ANY (%(registers)s::bigint[])
   AND (f.starts_at >= %(start)s AND f.starts_at < %(end)s OR f.check_name = ANY (%(standing)s::text[]))
   AND NOT EXISTS (SELECT 1 FROM unnest(%(register_id)s::bigint[], %(check_name)s::text[], %(starts_at)s::timestamptz[])
                             AS t(register_id, check_name, starts_at)
                    WHERE t.register_id = f.register_id AND t.check_name = f.check_name AND t.starts_at = f.starts_at);
