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
    ON CONFLICT (organisation_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        time_zone = EXCLUDED.time_zone, region = EXCLUDED.region, contract_demand_kw = EXCLUDED.contract_demand_kw,
        attributes = EXCLUDED.attributes
RETURNING id, currency;

-- name: save_buildings
-- All buildings of the file.
INSERT INTO building (organisation_id, site_id, code, name_zh, name_en, attributes)
SELECT %(organisation_id)s, %(site_id)s, t.code, t.zh, t.en, t.attributes
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, zh text, en text, attributes jsonb)
    ON CONFLICT (site_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        attributes = EXCLUDED.attributes;

-- name: save_floors
-- All floors; their building by code.
INSERT INTO floor (organisation_id, building_id, code, level_number, name_zh, name_en, area_m2)
SELECT %(organisation_id)s, b.id, t.code, t.level_number, t.zh, t.en, t.area_m2
  FROM jsonb_to_recordset(%(rows)s)
       AS t(building text, code text, level_number int, zh text, en text, area_m2 numeric)
  JOIN building b ON b.site_id = %(site_id)s AND b.code = t.building
    ON CONFLICT (building_id, code) DO UPDATE SET level_number = EXCLUDED.level_number,
        name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en, area_m2 = EXCLUDED.area_m2;

-- name: save_spaces
-- All spaces; their floor by code.
INSERT INTO space (organisation_id, floor_id, code, name_zh, name_en, use)
SELECT %(organisation_id)s, f.id, t.code, t.zh, t.en, t.use
  FROM jsonb_to_recordset(%(rows)s) AS t(floor text, code text, zh text, en text, use text)
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id AND f.code = t.floor
    ON CONFLICT (floor_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        use = EXCLUDED.use;

-- name: save_areas
-- Areas of spaces that have none yet: later changes are dated and belong to people, not to the file.
INSERT INTO space_area (organisation_id, space_id, area_m2, area_kind)
SELECT %(organisation_id)s, s.id, t.area_m2, t.area_kind
  FROM jsonb_to_recordset(%(rows)s) AS t(floor text, code text, area_m2 numeric, area_kind text)
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id AND f.code = t.floor
  JOIN space s ON s.floor_id = f.id AND s.code = t.code
 WHERE t.area_m2 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM space_area a WHERE a.space_id = s.id);

-- name: areas_kept
-- Spaces whose area of today is not the file's.
SELECT s.code
  FROM jsonb_to_recordset(%(rows)s) AS t(floor text, code text, area_m2 numeric)
  JOIN building b ON b.site_id = %(site_id)s
  JOIN floor f ON f.building_id = b.id AND f.code = t.floor
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
