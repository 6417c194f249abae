-- name: open_findings
-- The worklist, the oldest first: a bill waits for the oldest.
SELECT f.id, f.register_id, f.starts_at, f.ends_at, f.check_name, f.detail, f.state, f.found_at, f.settled_at,
       f.settled_by, f.reason, m.id AS meter_id, m.code, m.name_zh, m.name_en
  FROM vee_finding f
  JOIN register r ON r.id = f.register_id
  JOIN meter m ON m.id = r.meter_id
 WHERE f.state = %(state)s AND (%(meter_id)s::bigint IS NULL OR m.id = %(meter_id)s)
   AND (%(check_name)s::text IS NULL OR f.check_name = %(check_name)s)
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
SELECT f.id, f.register_id, f.starts_at, f.ends_at, f.check_name, f.state, m.id AS meter_id, m.use, r.quantity,
       interval_lengths(m.id, m.interval_minutes) AS lengths, s.id AS site_id, s.time_zone
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
