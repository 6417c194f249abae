-- name: bound_points
-- Equipment with its roles, the points that play them, and how far their gateway's data are complete: live data travel
-- beside a backlog, so nothing after the oldest observation that still waits in the outbox counts as complete.
SELECT e.id AS equipment_id, e.organisation_id, e.site_id, e.code, e.name_zh, e.name_en, e.brick_class, e.attributes,
       s.time_zone, b.role, b.point_id, p.unit, l.observed_at, d.gateway_id,
       least(g.last_seen_at, CASE WHEN jsonb_typeof(g.health #> '{outbox,oldest_stored_at_ms}') = 'number'
             THEN to_timestamp((g.health #>> '{outbox,oldest_stored_at_ms}')::float8 / 1000) END) AS complete_until
  FROM equipment e
  JOIN site s ON s.id = e.site_id
  JOIN equipment_point b ON b.equipment_id = e.id
  JOIN point p ON p.id = b.point_id AND p.retired_at IS NULL
  JOIN device d ON d.id = p.device_id
  JOIN gateway g ON g.id = d.gateway_id
  LEFT JOIN latest_value l ON l.point_id = p.id
 ORDER BY e.id, b.role;

-- name: surroundings
-- Where each equipment stands among the others: what feeds it, which spaces and floors it serves, its sub-meters.
SELECT e.id AS equipment_id, e.site_id, e.code, e.brick_class,
       CASE WHEN jsonb_typeof(e.attributes -> 'fed_by') = 'array'
            THEN ARRAY(SELECT jsonb_array_elements_text(e.attributes -> 'fed_by'))
            ELSE ARRAY(SELECT p.code FROM equipment p WHERE p.id = e.parent_equipment_id) END AS fed_by,
       ARRAY(SELECT v.space_id FROM equipment_serves v WHERE v.equipment_id = e.id) AS spaces,
       ARRAY(SELECT DISTINCT sp.floor_id FROM equipment_serves v JOIN space sp ON sp.id = v.space_id
              WHERE v.equipment_id = e.id) AS floors,
       ARRAY(SELECT c.code FROM meter m JOIN meter c ON c.parent_meter_id = m.id AND c.utility = m.utility
              WHERE m.site_id = e.site_id AND m.code = e.code) AS sub_meters
  FROM equipment e ORDER BY e.id;

-- name: free_days
-- Holidays (free) and make-up workdays (not) of each site's region; other days are told by their weekday.
SELECT s.id AS site_id, h.day, h.kind = 'holiday' AS is_free
  FROM site s
  JOIN holiday_calendar h ON h.region IN (s.region, split_part(s.region, '-', 1))
 ORDER BY s.id, h.day, h.region = s.region;

-- name: models
-- What was learned of each unit.
SELECT equipment_id, content, healthy_days, fitted_by, fitted_at FROM fault_model
 WHERE %(equipment_id)s::bigint IS NULL OR equipment_id = %(equipment_id)s;

-- name: store_model
-- Keep what was learned of a unit.
INSERT INTO fault_model (equipment_id, organisation_id, content, healthy_days, fitted_by, fitted_at)
SELECT e.id, e.organisation_id, %(content)s, %(healthy_days)s::date[], %(fitted_by)s, %(fitted_at)s
  FROM equipment e WHERE e.id = %(equipment_id)s
ON CONFLICT (equipment_id) DO UPDATE SET content = EXCLUDED.content, healthy_days = EXCLUDED.healthy_days,
       fitted_by = EXCLUDED.fitted_by, fitted_at = EXCLUDED.fitted_at
RETURNING equipment_id;

-- name: forget_model
-- Give up what was learned of a unit.
DELETE FROM fault_model WHERE equipment_id = %(equipment_id)s RETURNING equipment_id;

-- name: evaluators
-- What each evaluator remembers, locked for this turn.
SELECT equipment_id, evaluated_through, bindings, memory, verdicts FROM fault_evaluator FOR UPDATE;

-- name: store_evaluator
-- Keep what an evaluator remembers; commits together with the alarms that its verdicts opened.
INSERT INTO fault_evaluator (equipment_id, organisation_id, evaluated_through, bindings, memory, verdicts, missing)
VALUES (%(equipment_id)s, %(organisation_id)s, %(evaluated_through)s, %(bindings)s, %(memory)s, %(verdicts)s, %(missing)s)
ON CONFLICT (equipment_id) DO UPDATE SET evaluated_through = EXCLUDED.evaluated_through, bindings = EXCLUDED.bindings,
       memory = EXCLUDED.memory, verdicts = EXCLUDED.verdicts, missing = EXCLUDED.missing;

-- name: rule_settings
-- What engineers set.
SELECT equipment_id, rule, is_enabled, params FROM fault_rule_setting
 WHERE %(equipment_id)s::bigint IS NULL OR equipment_id = %(equipment_id)s;

-- name: set_rule
-- Switch a rule on or off for an equipment, or change its parameters.
INSERT INTO fault_rule_setting (equipment_id, rule, organisation_id, is_enabled, params, set_by, set_at)
SELECT e.id, %(rule)s, e.organisation_id, %(is_enabled)s, %(params)s, %(set_by)s, %(set_at)s
  FROM equipment e WHERE e.id = %(equipment_id)s
ON CONFLICT (equipment_id, rule) DO UPDATE SET is_enabled = EXCLUDED.is_enabled, params = EXCLUDED.params,
       set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at
RETURNING equipment_id;

-- name: observations
-- Good values of some points in (start, end], in order; a value that a window starts with may be older.
SELECT point_id, extract(epoch FROM observed_at)::float8 AS second, value FROM observation
 WHERE point_id = ANY(%(points)s::bigint[]) AND observed_at > %(start)s AND observed_at <= %(end)s AND quality <= 1
   AND value IS NOT NULL
 ORDER BY point_id, observed_at;

-- name: applicability
-- For every equipment: what cannot be judged, and for want of which roles.
SELECT e.id AS equipment_id, e.code, e.name_zh, e.name_en, f.evaluated_through, f.verdicts, f.missing
  FROM equipment e JOIN fault_evaluator f ON f.equipment_id = e.id ORDER BY e.code;
