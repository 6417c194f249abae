-- name: plan
-- Every floor with its spaces: who holds each on a day, and how many alarms stand at its equipment and meters.
SELECT b.code AS building, b.name_zh AS building_zh, b.name_en AS building_en, f.code AS floor, f.level_number,
       f.name_zh AS floor_zh, f.name_en AS floor_en, s.id AS space_id, s.code, s.name_zh, s.name_en, s.use, a.area_m2, a.area_kind,
       p.name AS parent, l.id AS lease_id, l.number AS lease, t.id AS tenant_id, t.name_zh AS tenant_zh,
       t.name_en AS tenant_en, upper(x.term) - 1 AS last_day,
       (SELECT count(*) FROM alarm a
         WHERE (a.active OR a.latched) AND a.suppression = 'none' AND a.site_id = b.site_id
           AND (a.subject IN (SELECT 'equipment:' || e.id FROM equipment e
                               WHERE e.space_id = s.id
                                  OR e.id IN (SELECT v.equipment_id FROM equipment_serves v WHERE v.space_id = s.id))
             OR a.subject IN (SELECT 'meter:' || ms.meter_id FROM meter_space ms
                               WHERE ms.space_id = s.id AND ms.valid @> %(now)s::timestamptz))) AS alarm_count,
       (SELECT min(lower(n.term)) FROM lease_space n WHERE n.space_id = s.id AND lower(n.term) > %(day)s::date) AS next_from
  FROM building b
  JOIN floor f ON f.building_id = b.id
  JOIN space s ON s.floor_id = f.id
  JOIN space_area a ON a.space_id = s.id AND a.valid @> %(day)s::date
  LEFT JOIN LATERAL (SELECT code AS name FROM space WHERE id = s.parent_space_id) p ON true
  LEFT JOIN lease_space x ON x.space_id = s.id AND x.term @> %(day)s::date
  LEFT JOIN lease l ON l.id = x.lease_id
  LEFT JOIN tenant t ON t.id = x.tenant_id
 WHERE b.site_id = %(site_id)s
 ORDER BY b.code, f.level_number DESC, s.use = 'lettable' DESC, s.code;

-- name: meters_of_spaces
-- Which electricity meter measures what share of which space at an instant.
SELECT ms.space_id, ms.meter_id, ms.share FROM meter_space ms
  JOIN meter m ON m.id = ms.meter_id AND m.site_id = %(site_id)s AND m.utility = 'electricity'
 WHERE ms.valid @> %(now)s::timestamptz;
