-- name: meters_to_check
-- Meters with intervals in the period, with what the checks need to know of them.
SELECT DISTINCT m.id, m.use, m.organisation_id, m.attributes, m.interval_minutes, s.time_zone, r.id AS register_id,
       lower(r.open_period) AS opened_at, (SELECT min(i.starts_at) FROM interval i WHERE i.register_id = r.id) AS first_at
  FROM meter m
  JOIN site s ON s.id = m.site_id
  JOIN register r ON r.meter_id = m.id AND r.quantity = 'active_energy_import' AND upper_inf(r.open_period);

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

-- name: keep_findings
-- A finding that someone settled stays settled as long as it says the same.
INSERT INTO vee_finding AS f (organisation_id, register_id, starts_at, ends_at, check_name, detail, found_at)
SELECT t.organisation_id, t.register_id, t.starts_at, t.ends_at, t.check_name, t.detail, %(now)s
  FROM unnest(%(organisation_id)s::bigint[], %(register_id)s::bigint[], %(starts_at)s::timestamptz[],
              %(ends_at)s::timestamptz[], %(check_name)s::text[], %(detail)s::jsonb[])
       AS t(organisation_id, register_id, starts_at, ends_at, check_name, detail)
ON CONFLICT (register_id, check_name, starts_at) DO UPDATE
   SET ends_at = EXCLUDED.ends_at, detail = EXCLUDED.detail, found_at = EXCLUDED.found_at,
       state = CASE WHEN f.state = 'gone' OR f.ends_at < EXCLUDED.ends_at THEN 'open' ELSE f.state END;

-- name: forget_findings
-- What the readings have settled since is no longer on the list.
UPDATE vee_finding f SET state = 'gone', settled_at = %(now)s
 WHERE f.state = 'open' AND f.register_id = ANY (%(registers)s::bigint[])
   AND f.starts_at >= %(start)s AND f.starts_at < %(end)s
   AND NOT EXISTS (SELECT 1 FROM unnest(%(register_id)s::bigint[], %(check_name)s::text[], %(starts_at)s::timestamptz[])
                             AS t(register_id, check_name, starts_at)
                    WHERE t.register_id = f.register_id AND t.check_name = f.check_name AND t.starts_at = f.starts_at);

-- name: open_findings
-- The worklist, the oldest first: a bill waits for the oldest.
SELECT f.id, f.register_id, f.starts_at, f.ends_at, f.check_name, f.detail, f.state, f.found_at, f.settled_at,
       f.settled_by, f.reason, m.id AS meter_id, m.code, m.name_zh, m.name_en
  FROM vee_finding f
  JOIN register r ON r.id = f.register_id
  JOIN meter m ON m.id = r.meter_id
 WHERE f.state = %(state)s
 ORDER BY f.starts_at, f.id
 LIMIT %(limit)s OFFSET %(offset)s;

-- name: one_finding
-- As the worklist shows it.
SELECT f.id, f.register_id, f.starts_at, f.ends_at, f.check_name, f.detail, f.state, f.found_at, f.settled_at,
       f.settled_by, f.reason, m.id AS meter_id, m.code, m.name_zh, m.name_en
  FROM vee_finding f
  JOIN register r ON r.id = f.register_id
  JOIN meter m ON m.id = r.meter_id
 WHERE f.id = %(id)s;

-- name: count_findings
-- By state, for the page's sentence.
SELECT state, count(*) AS count FROM vee_finding GROUP BY state;

-- name: finding
-- One finding, held until the decision is stored.
SELECT f.id, f.register_id, f.starts_at, f.ends_at, f.check_name, f.state, m.id AS meter_id, m.interval_minutes,
       m.use, r.quantity, s.id AS site_id, s.time_zone
  FROM vee_finding f
  JOIN register r ON r.id = f.register_id
  JOIN meter m ON m.id = r.meter_id
  JOIN site s ON s.id = m.site_id
 WHERE f.id = %(id)s
   FOR NO KEY UPDATE OF f;

-- name: settle_finding
-- Who dealt with it, when and why.
UPDATE vee_finding SET state = %(state)s, settled_at = %(now)s, settled_by = %(actor)s, reason = %(reason)s
 WHERE id = %(id)s;

-- name: undo_edits_of_finding
-- Everything that was decided for one finding and still stands.
UPDATE interval_edit SET undone_at = %(now)s WHERE finding_id = %(id)s AND undone_at IS NULL RETURNING id;
