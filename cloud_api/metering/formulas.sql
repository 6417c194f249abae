-- name: formulas
-- Every virtual meter with its inputs; there are few. The join on meter brings row-level security.
SELECT m.id AS meter_id, m.code, m.name_zh, m.name_en, t.kind, i.id AS input_id, i.code AS input_code,
       i.name_zh AS input_name_zh, i.name_en AS input_name_en, t.factor
  FROM (SELECT meter_id, input_meter_id, factor, 'sum' AS kind FROM meter_term
        UNION ALL SELECT meter_id, numerator_id, 1, 'ratio' FROM meter_ratio
        UNION ALL SELECT meter_id, denominator_id, -1, 'ratio' FROM meter_ratio) t
  JOIN meter m ON m.id = t.meter_id
  JOIN meter i ON i.id = t.input_meter_id
 ORDER BY m.code, t.factor DESC, i.code;

-- name: add_meter
-- A meter without registers, outside the tree: a balance adds up what is measured.
INSERT INTO meter (organisation_id, site_id, code, name_zh, name_en, utility, use, interval_minutes)
SELECT organisation_id, site_id, %(code)s, %(name_zh)s, %(name_en)s, utility, 'check', interval_minutes
  FROM meter WHERE id = %(like)s
RETURNING id;

-- name: add_ratio
-- One above, one below.
INSERT INTO meter_ratio (meter_id, numerator_id, denominator_id) VALUES (%(meter_id)s, %(above)s, %(below)s);

-- name: delete_formula
-- Before it is replaced as a whole, by whichever kind.
WITH sums AS (DELETE FROM meter_term WHERE meter_id = %(meter_id)s)
DELETE FROM meter_ratio WHERE meter_id = %(meter_id)s;

-- name: remove_meter
-- A virtual meter has no readings and no intervals; only its formula goes with it.
DELETE FROM meter WHERE id = %(meter_id)s;
