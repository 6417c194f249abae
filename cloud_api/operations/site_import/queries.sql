-- name: save_organisation
-- The landlord; importing again only renames.
INSERT INTO organisation (code, name_zh, name_en) VALUES (%(code)s, %(zh)s, %(en)s)
    ON CONFLICT (code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en
RETURNING id;

-- name: save_owner
-- The landlord's own account: vacant space and common areas are never nobody's.
INSERT INTO tenant (organisation_id, code, name_zh, name_en, is_owner)
VALUES (%(organisation_id)s, 'owner', %(zh)s, %(en)s, true)
    ON CONFLICT (organisation_id, code) DO NOTHING;

-- name: save_site
-- The site with its zone and currency; a currency that bills were issued in does not change by import.
INSERT INTO site (organisation_id, code, name_zh, name_en, time_zone, currency, region, contract_demand_kw, attributes)
VALUES (%(organisation_id)s, %(code)s, %(zh)s, %(en)s, %(time_zone)s, %(currency)s, %(region)s, %(contract_kw)s,
        %(attributes)s)
    ON CONFLICT (organisation_id, code) DO UPDATE SET
        time_zone = EXCLUDED.time_zone, region = EXCLUDED.region, contract_demand_kw = EXCLUDED.contract_demand_kw,
        attributes = EXCLUDED.attributes
RETURNING id, currency;

-- name: save_buildings
-- All buildings of the file; names of known places are changed from a day on (`change_places`).
INSERT INTO building (organisation_id, site_id, code, name_zh, name_en, attributes)
SELECT %(organisation_id)s, %(site_id)s, t.code, t.zh, t.en, t.attributes
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, zh text, en text, attributes jsonb)
    ON CONFLICT (site_id, code) DO UPDATE SET attributes = EXCLUDED.attributes;

-- name: save_floors
-- All floors; their building by code.
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s)
               AS t(building text, code text, level_number int, zh text, en text, area_m2 numeric)
), known AS (
    UPDATE floor f SET level_number = t.level_number FROM told t
     WHERE f.code = t.code AND f.building_id IN (SELECT id FROM building WHERE site_id = %(site_id)s)
    RETURNING f.code
)
INSERT INTO floor (organisation_id, building_id, code, level_number, name_zh, name_en, area_m2)
SELECT %(organisation_id)s, b.id, t.code, t.level_number, t.zh, t.en, t.area_m2
  FROM told t JOIN building b ON b.site_id = %(site_id)s AND b.code = t.building
 WHERE t.code NOT IN (SELECT code FROM known);

-- name: save_spaces
-- All spaces; their floor by code.
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s) AS t(floor text, code text, zh text, en text, use text)
), known AS (
    UPDATE space s SET use = t.use FROM told t
     WHERE s.code = t.code AND s.floor_id IN (SELECT f.id FROM floor f JOIN building b ON b.id = f.building_id
                                               WHERE b.site_id = %(site_id)s)
    RETURNING s.code
)
INSERT INTO space (organisation_id, floor_id, code, name_zh, name_en, use)
SELECT %(organisation_id)s, f.id, t.code, t.zh, t.en, t.use
  FROM told t
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id AND f.code = t.floor
 WHERE t.code NOT IN (SELECT code FROM known);

-- name: begin_places
-- Buildings, floors and spaces that are new and tell since when they are there.
UPDATE place_period p SET valid = daterange(t.since, NULL)
  FROM jsonb_to_recordset(%(rows)s) AS t(building text, floor text, space text, since date)
  LEFT JOIN building b ON b.site_id = %(site_id)s AND b.code = t.building AND t.floor IS NULL
  LEFT JOIN (SELECT f.id, f.code FROM floor f JOIN building x ON x.id = f.building_id AND x.site_id = %(site_id)s) f
    ON f.code = t.floor AND t.space IS NULL
  LEFT JOIN (SELECT s.id, s.code FROM space s JOIN floor g ON g.id = s.floor_id
               JOIN building x ON x.id = g.building_id AND x.site_id = %(site_id)s) s ON s.code = t.space
 WHERE t.since IS NOT NULL AND p.recorded_at = now() AND lower_inf(p.valid)
   AND (p.building_id = b.id OR p.floor_id = f.id OR p.space_id = s.id);

-- name: change_places
-- Known places that the file calls otherwise, or puts elsewhere: from today on. What began today is put right instead.
WITH told AS (
    SELECT t.zh, t.en, t.area_m2, CASE WHEN t.building IS NULL THEN %(site_id)s::bigint END AS site_id,
           CASE WHEN t.floor IS NULL THEN b.id END AS building_id, CASE WHEN t.space IS NULL THEN f.id END AS floor_id,
           s.id AS space_id, CASE WHEN t.floor IS NOT NULL AND t.space IS NULL THEN b.id END AS in_building_id,
           CASE WHEN t.space IS NOT NULL THEN f.id END AS in_floor_id, i.id AS in_space_id
      FROM jsonb_to_recordset(%(rows)s)
           AS t(building text, floor text, space text, inside text, zh text, en text, area_m2 numeric)
      LEFT JOIN building b ON b.site_id = %(site_id)s AND b.code = t.building
      LEFT JOIN (SELECT f.id, f.code FROM floor f JOIN building x ON x.id = f.building_id AND x.site_id = %(site_id)s) f
        ON f.code = t.floor
      LEFT JOIN (SELECT s.id, s.code FROM space s JOIN floor g ON g.id = s.floor_id
                   JOIN building x ON x.id = g.building_id AND x.site_id = %(site_id)s) s ON s.code = t.space
      LEFT JOIN (SELECT s.id, s.code FROM space s JOIN floor g ON g.id = s.floor_id
                   JOIN building x ON x.id = g.building_id AND x.site_id = %(site_id)s) i ON i.code = t.inside
), wanted AS (
    SELECT p.id, p.valid, coalesce(lower(p.valid) = %(today)s::date, false) OR p.recorded_at = now() AS is_new,
           t.site_id, t.building_id, t.floor_id, t.space_id, t.zh, t.en, t.in_building_id, t.in_floor_id,
           coalesce(t.in_space_id, CASE WHEN p.in_floor_id = t.in_floor_id THEN p.in_space_id END) AS in_space_id,
           coalesce(t.area_m2, p.area_m2) AS area_m2
      FROM told t
      JOIN place_period p ON p.valid @> %(today)s::date
       AND (p.site_id = t.site_id OR p.building_id = t.building_id OR p.floor_id = t.floor_id OR p.space_id = t.space_id)
), differ AS (
    SELECT w.* FROM wanted w JOIN place_period p ON p.id = w.id
     WHERE (p.name_zh, p.name_en, p.in_building_id, p.in_floor_id, p.in_space_id, p.area_m2)
           IS DISTINCT FROM (w.zh, w.en, w.in_building_id, w.in_floor_id, w.in_space_id, w.area_m2)
), put_right AS (
    UPDATE place_period p SET name_zh = d.zh, name_en = d.en, in_building_id = d.in_building_id,
           in_floor_id = d.in_floor_id, in_space_id = d.in_space_id, area_m2 = d.area_m2
      FROM differ d WHERE p.id = d.id AND d.is_new
), cut AS (
    UPDATE place_period p SET valid = daterange(lower(p.valid), %(today)s::date)
      FROM differ d WHERE p.id = d.id AND NOT d.is_new RETURNING d.*
)
INSERT INTO place_period (organisation_id, site_id, building_id, floor_id, space_id, valid, name_zh, name_en,
                          in_building_id, in_floor_id, in_space_id, area_m2)
SELECT %(organisation_id)s, c.site_id, c.building_id, c.floor_id, c.space_id, daterange(%(today)s::date, upper(c.valid)),
       c.zh, c.en, c.in_building_id, c.in_floor_id, c.in_space_id, c.area_m2
  FROM cut c;

-- name: save_areas
-- Areas of spaces that have none yet: later changes are dated and belong to people, not to the file.
INSERT INTO space_area (organisation_id, space_id, valid, area_m2, area_kind)
SELECT %(organisation_id)s, s.id, daterange(t.since, NULL), t.area_m2, t.area_kind
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, since date, area_m2 numeric, area_kind text)
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id
  JOIN space s ON s.floor_id = f.id AND s.code = t.code
 WHERE t.area_m2 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM space_area a WHERE a.space_id = s.id);

-- name: areas_kept
-- Spaces whose area of today is not the file's.
SELECT s.code
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, area_m2 numeric)
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id
  JOIN space s ON s.floor_id = f.id AND s.code = t.code
  LEFT JOIN space_area a ON a.space_id = s.id AND a.valid @> %(today)s::date
 WHERE t.area_m2 IS NOT NULL AND a.area_m2 IS DISTINCT FROM t.area_m2 ORDER BY s.code;

-- name: save_meters
-- All meters, without their parents: those may stand further down in the file.
INSERT INTO meter (organisation_id, site_id, code, name_zh, name_en, utility, use, interval_minutes, attributes)
SELECT %(organisation_id)s, %(site_id)s, t.code, t.zh, t.en, t.utility, t.use, t.interval_minutes, t.attributes
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, zh text, en text, utility text, use text, interval_minutes smallint,
                                         attributes jsonb)
    ON CONFLICT (site_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        utility = EXCLUDED.utility, use = EXCLUDED.use, attributes = EXCLUDED.attributes;

-- name: save_meter_parents
-- The tree, once every meter exists.
UPDATE meter m SET parent_meter_id = p.id
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, parent text)
  LEFT JOIN meter p ON p.site_id = %(site_id)s AND p.code = t.parent
 WHERE m.site_id = %(site_id)s AND m.code = t.code AND m.parent_meter_id IS DISTINCT FROM p.id;

-- name: save_registers
-- One open register per meter and quantity; a register that a meter exchange opened stays as it is.
INSERT INTO register (organisation_id, meter_id, quantity, unit, multiplier, modulus, open_period)
SELECT %(organisation_id)s, m.id, t.quantity, t.unit, t.multiplier, t.modulus, tstzrange(NULL, NULL)
  FROM jsonb_to_recordset(%(rows)s)
       AS t(meter text, quantity text, unit text, multiplier numeric, modulus numeric)
  JOIN meter m ON m.site_id = %(site_id)s AND m.code = t.meter
 WHERE NOT EXISTS (SELECT 1 FROM register r WHERE r.meter_id = m.id AND r.quantity = t.quantity);

-- name: save_register_points
-- Where each open register is read; binds at once when the point is known already.
INSERT INTO expected_point (organisation_id, site_id, device_name, point_name, register_id)
SELECT %(organisation_id)s, %(site_id)s, t.device, t.point, r.id
  FROM jsonb_to_recordset(%(rows)s) AS t(meter text, quantity text, device text, point text)
  JOIN meter m ON m.site_id = %(site_id)s AND m.code = t.meter
  JOIN register r ON r.meter_id = m.id AND r.quantity = t.quantity AND upper_inf(r.open_period)
    ON CONFLICT (register_id) DO UPDATE SET device_name = EXCLUDED.device_name, point_name = EXCLUDED.point_name
     WHERE (expected_point.device_name, expected_point.point_name) <> (EXCLUDED.device_name, EXCLUDED.point_name);

-- name: save_meter_spaces
-- Shares of a meter that has none yet: later changes are dated and belong to people, not to the file.
INSERT INTO meter_space (meter_id, space_id, share)
SELECT m.id, s.id, t.share
  FROM jsonb_to_recordset(%(rows)s) AS t(meter text, space text, share numeric)
  JOIN meter m ON m.site_id = %(site_id)s AND m.code = t.meter
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id
  JOIN space s ON s.floor_id = f.id AND s.code = t.space
 WHERE NOT EXISTS (SELECT 1 FROM meter_space x WHERE x.meter_id = m.id);

-- name: save_equipment
-- All equipment, without what feeds it.
INSERT INTO equipment (organisation_id, site_id, space_id, code, name_zh, name_en, brick_class, attributes)
SELECT %(organisation_id)s, %(site_id)s,
       (SELECT s.id FROM space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
         WHERE b.site_id = %(site_id)s AND s.code = t.space),
       t.code, t.zh, t.en, t.brick, t.attributes
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, zh text, en text, brick text, space text, attributes jsonb)
    ON CONFLICT (site_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        brick_class = EXCLUDED.brick_class, space_id = EXCLUDED.space_id, attributes = EXCLUDED.attributes;

-- name: save_equipment_parents
-- The first feeding equipment is the parent in the tree; all of them stand in the attributes.
UPDATE equipment e SET parent_equipment_id = p.id
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, parent text)
  LEFT JOIN equipment p ON p.site_id = %(site_id)s AND p.code = t.parent
 WHERE e.site_id = %(site_id)s AND e.code = t.code AND e.parent_equipment_id IS DISTINCT FROM p.id;

-- name: forget_served
-- The file is the whole truth about what equipment serves.
DELETE FROM equipment_serves s USING equipment e WHERE e.id = s.equipment_id AND e.site_id = %(site_id)s;

-- name: save_served
-- What each equipment serves, space by space.
INSERT INTO equipment_serves (equipment_id, space_id)
SELECT DISTINCT e.id, s.id
  FROM jsonb_to_recordset(%(rows)s) AS t(equipment text, space text)
  JOIN equipment e ON e.site_id = %(site_id)s AND e.code = t.equipment
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id
  JOIN space s ON s.floor_id = f.id AND s.code = t.space;

-- name: save_equipment_points
-- The roles that points play for equipment; binds at once when the point is known already.
INSERT INTO expected_point (organisation_id, site_id, device_name, point_name, equipment_id, role)
SELECT %(organisation_id)s, %(site_id)s, t.device, t.point, e.id, t.role
  FROM jsonb_to_recordset(%(rows)s) AS t(equipment text, role text, device text, point text)
  JOIN equipment e ON e.site_id = %(site_id)s AND e.code = t.equipment
    ON CONFLICT (equipment_id, role) DO UPDATE SET device_name = EXCLUDED.device_name,
        point_name = EXCLUDED.point_name
     WHERE (expected_point.device_name, expected_point.point_name) <> (EXCLUDED.device_name, EXCLUDED.point_name);

-- name: audit
-- An import can change bills: who, when, what.
INSERT INTO audit_entry (organisation_id, at, actor, action, subject, detail)
VALUES (%(organisation_id)s, %(at)s, %(actor)s, 'estate.import', %(subject)s, %(detail)s);
