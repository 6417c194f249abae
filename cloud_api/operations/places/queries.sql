-- name: lock
-- Changes of an organisation's places wait for each other; the trigger against circles takes the same lock.
SELECT pg_advisory_xact_lock(hashtextextended('place_period', %(organisation_id)s));

-- name: find
-- A place of the site by its kind and code.
SELECT id FROM (
    SELECT 'site' AS kind, s.code, s.id FROM site s WHERE s.id = %(site_id)s
    UNION ALL
    SELECT 'building', b.code, b.id FROM building b WHERE b.site_id = %(site_id)s
    UNION ALL
    SELECT 'floor', f.code, f.id FROM floor f JOIN building b ON b.id = f.building_id WHERE b.site_id = %(site_id)s
    UNION ALL
    SELECT 'space', s.code, s.id FROM space s JOIN floor f ON f.id = s.floor_id
      JOIN building b ON b.id = f.building_id WHERE b.site_id = %(site_id)s) p
 WHERE p.kind = %(kind)s AND p.code = %(code)s LIMIT 1;

-- name: periods
-- What a place was called and part of, period by period, as known at an instant.
SELECT p.id, p.name_zh, p.name_en, lower(p.valid) AS starts_on, upper(p.valid) AS ends_on, p.area_m2, p.recorded_at,
       p.in_building_id, b.code AS building, p.in_floor_id, f.code AS floor, p.in_space_id, s.code AS inside
  FROM place_period_as_known(%(known_at)s::timestamptz) p
  LEFT JOIN building b ON b.id = p.in_building_id
  LEFT JOIN floor f ON f.id = p.in_floor_id
  LEFT JOIN space s ON s.id = p.in_space_id
 WHERE CASE %(kind)s::text WHEN 'site' THEN p.site_id WHEN 'building' THEN p.building_id WHEN 'floor' THEN p.floor_id
       ELSE p.space_id END = %(place_id)s
 ORDER BY p.valid;

-- name: corrected
-- What was said of a place before, and from when to when we said so.
SELECT r.name_zh, r.name_en, lower(r.valid) AS starts_on, upper(r.valid) AS ends_on, upper(h.known) AS until
  FROM fact_history h, jsonb_populate_record(NULL::place_period, h.content) r
 WHERE h.fact = 'place_period' AND NOT isempty(h.known)
   AND CASE %(kind)s::text WHEN 'site' THEN r.site_id WHEN 'building' THEN r.building_id WHEN 'floor' THEN r.floor_id
       ELSE r.space_id END = %(place_id)s
 ORDER BY h.id DESC LIMIT 50;

-- name: drop
-- A period that would begin on the day on which it changes never was.
DELETE FROM place_period WHERE id = %(id)s AND lower(valid) = %(day)s::date;

-- name: cut
-- A period ends on a day.
UPDATE place_period SET valid = daterange(lower(valid), %(day)s::date) WHERE id = %(id)s AND valid @> %(day)s::date;

-- name: add
-- What holds of a place in `[first, after)`.
INSERT INTO place_period (organisation_id, site_id, building_id, floor_id, space_id, valid, name_zh, name_en,
                          in_building_id, in_floor_id, in_space_id, area_m2)
SELECT %(organisation_id)s, CASE WHEN k.kind = 'site' THEN %(place_id)s::bigint END,
       CASE WHEN k.kind = 'building' THEN %(place_id)s::bigint END, CASE WHEN k.kind = 'floor' THEN %(place_id)s::bigint END,
       CASE WHEN k.kind = 'space' THEN %(place_id)s::bigint END, daterange(%(first)s::date, %(after)s::date),
       %(name_zh)s, %(name_en)s, %(in_building_id)s, %(in_floor_id)s, %(in_space_id)s, %(area_m2)s
  FROM (SELECT %(kind)s::text AS kind) k;

-- name: correct
-- What a period should have said from the start; the history keeps what it said.
UPDATE place_period SET name_zh = %(name_zh)s, name_en = %(name_en)s, area_m2 = %(area_m2)s WHERE id = %(id)s;

-- name: inside
-- The spaces inside a space on a day.
SELECT space_id FROM place_period WHERE in_space_id = %(space_id)s AND valid @> %(day)s::date ORDER BY space_id;

-- name: below
-- The place itself and the floors and spaces that stand in it on a day or later.
WITH RECURSIVE below AS (
    SELECT %(kind)s::text AS kind, %(place_id)s::bigint AS id
    UNION
    SELECT CASE WHEN p.floor_id IS NULL THEN 'space' ELSE 'floor' END, coalesce(p.floor_id, p.space_id)
      FROM below b
      JOIN place_period p ON b.id = CASE b.kind WHEN 'building' THEN p.in_building_id WHEN 'floor' THEN p.in_floor_id
                                    WHEN 'space' THEN p.in_space_id END
     WHERE upper_inf(p.valid) OR upper(p.valid) > %(day)s::date
) SELECT kind, id FROM below;

-- name: holdings
-- Leases that hold one of the spaces on a day or later.
SELECT DISTINCT l.number, s.code AS space FROM lease_space x
  JOIN lease l ON l.id = x.lease_id JOIN space s ON s.id = x.space_id
 WHERE x.space_id = ANY(%(space_ids)s) AND (upper_inf(x.term) OR upper(x.term) > %(day)s::date)
 ORDER BY s.code, l.number LIMIT 20;

-- name: end_places
-- Places are not there from a day on.
WITH gone AS (
    DELETE FROM place_period WHERE lower(valid) >= %(day)s::date
       AND (building_id = ANY(%(building_ids)s) OR floor_id = ANY(%(floor_ids)s) OR space_id = ANY(%(space_ids)s)))
UPDATE place_period SET valid = daterange(lower(valid), %(day)s::date)
 WHERE valid @> %(day)s::date AND (lower_inf(valid) OR lower(valid) < %(day)s::date)
   AND (building_id = ANY(%(building_ids)s) OR floor_id = ANY(%(floor_ids)s) OR space_id = ANY(%(space_ids)s));

-- name: end_areas
-- What is not there has no area.
WITH gone AS (DELETE FROM space_area WHERE space_id = ANY(%(space_ids)s) AND lower(valid) >= %(day)s::date)
UPDATE space_area SET valid = daterange(lower(valid), %(day)s::date)
 WHERE space_id = ANY(%(space_ids)s) AND valid @> %(day)s::date AND (lower_inf(valid) OR lower(valid) < %(day)s::date);

-- name: begin_again
-- A place comes back, and with it everything that ended in it on the day that it ended: as it was called and measured.
WITH RECURSIVE below AS (
    SELECT %(kind)s::text AS kind, %(place_id)s::bigint AS id
    UNION
    SELECT CASE WHEN p.floor_id IS NULL THEN 'space' ELSE 'floor' END, coalesce(p.floor_id, p.space_id)
      FROM below b
      JOIN place_period p ON b.id = CASE b.kind WHEN 'building' THEN p.in_building_id WHEN 'floor' THEN p.in_floor_id
                                    WHEN 'space' THEN p.in_space_id END
     WHERE upper(p.valid) = %(ended)s::date
), measured AS (
    INSERT INTO space_area (organisation_id, space_id, valid, area_m2, area_kind)
    SELECT a.organisation_id, a.space_id, daterange(%(day)s::date, NULL), a.area_m2, a.area_kind
      FROM space_area a JOIN below b ON b.kind = 'space' AND b.id = a.space_id WHERE upper(a.valid) = %(ended)s::date
)
INSERT INTO place_period (organisation_id, building_id, floor_id, space_id, valid, name_zh, name_en, in_building_id,
                          in_floor_id, in_space_id, area_m2)
SELECT p.organisation_id, p.building_id, p.floor_id, p.space_id, daterange(%(day)s::date, NULL), p.name_zh, p.name_en,
       p.in_building_id, p.in_floor_id, p.in_space_id, p.area_m2
  FROM place_period p
  JOIN below b ON b.id = CASE b.kind WHEN 'building' THEN p.building_id WHEN 'floor' THEN p.floor_id ELSE p.space_id END
 WHERE upper(p.valid) = %(ended)s::date;

-- name: new_floor
-- A floor on the storey of another.
INSERT INTO floor (organisation_id, building_id, code, level_number, name_zh, name_en, area_m2)
SELECT organisation_id, %(building_id)s, %(code)s, level_number, %(name_zh)s, %(name_en)s, %(area_m2)s
  FROM floor WHERE id = %(floor_id)s
RETURNING id;

-- name: begin_on
-- A new place is there from a day on.
UPDATE place_period SET valid = daterange(%(day)s::date, NULL)
 WHERE CASE %(kind)s::text WHEN 'building' THEN building_id WHEN 'floor' THEN floor_id WHEN 'space' THEN space_id END
       = %(place_id)s;

-- name: show_today
-- What holds on a day stands in the rows of sites, buildings, floors and spaces too.
WITH today AS (SELECT * FROM place_period WHERE organisation_id = %(organisation_id)s AND valid @> %(day)s::date),
     here AS (SELECT id FROM building WHERE site_id = %(site_id)s),
     storeys AS (SELECT id FROM floor WHERE building_id IN (SELECT id FROM here)),
     sites AS (UPDATE site s SET name_zh = p.name_zh, name_en = p.name_en FROM today p
                WHERE p.site_id = s.id AND s.id = %(site_id)s
                  AND (s.name_zh, s.name_en) IS DISTINCT FROM (p.name_zh, p.name_en)),
     buildings AS (UPDATE building b SET name_zh = p.name_zh, name_en = p.name_en FROM today p
                    WHERE p.building_id = b.id AND b.site_id = %(site_id)s
                      AND (b.name_zh, b.name_en) IS DISTINCT FROM (p.name_zh, p.name_en)),
     floors AS (UPDATE floor f SET name_zh = p.name_zh, name_en = p.name_en, building_id = p.in_building_id,
                                   area_m2 = p.area_m2
                  FROM today p
                 WHERE p.floor_id = f.id AND f.building_id IN (SELECT id FROM here)
                   AND (f.name_zh, f.name_en, f.building_id, f.area_m2)
                       IS DISTINCT FROM (p.name_zh, p.name_en, p.in_building_id, p.area_m2))
UPDATE space s SET name_zh = p.name_zh, name_en = p.name_en, floor_id = p.in_floor_id, parent_space_id = p.in_space_id
  FROM today p
 WHERE p.space_id = s.id AND s.floor_id IN (SELECT id FROM storeys)
   AND (s.name_zh, s.name_en, s.floor_id, s.parent_space_id)
       IS DISTINCT FROM (p.name_zh, p.name_en, p.in_floor_id, p.in_space_id);

-- name: tree
-- The buildings, floors and spaces of a site that are there on a day, with the codes of what each is part of.
SELECT CASE WHEN p.building_id IS NOT NULL THEN 'building' WHEN p.floor_id IS NOT NULL THEN 'floor' ELSE 'space' END AS kind,
       coalesce(b.code, f.code, s.code) AS code, p.name_zh, p.name_en, pb.code AS building, pf.code AS floor, ps.code AS inside
  FROM place_period p
  LEFT JOIN building b ON b.id = p.building_id
  LEFT JOIN floor f ON f.id = p.floor_id
  LEFT JOIN space s ON s.id = p.space_id
  LEFT JOIN floor pf ON pf.id = p.in_floor_id
  LEFT JOIN building pb ON pb.id = p.in_building_id
  LEFT JOIN space ps ON ps.id = p.in_space_id
 WHERE p.organisation_id = %(organisation_id)s AND p.valid @> %(day)s::date
   AND (b.site_id = %(site_id)s OR pb.site_id = %(site_id)s
        OR (SELECT o.site_id FROM building o WHERE o.id = pf.building_id) = %(site_id)s)
 ORDER BY 1, f.level_number DESC, 2 LIMIT 5000;
