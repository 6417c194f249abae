-- name: lease
-- The lease that is handed over, held until the transaction ends.
SELECT l.id, l.organisation_id, l.tenant_id, l.number, l.status, lower(l.term) AS starts_on, upper(l.term) AS ends_on
  FROM lease l WHERE l.organisation_id = %(organisation_id)s AND l.number = %(number)s FOR UPDATE;

-- name: open_accounts
-- Other leases that still run on these spaces on a day, or ended without having been moved out. A space that its lease
-- gave back or sub-let is closed by its own handover.
SELECT DISTINCT s.code AS space, o.number
  FROM lease_space x
  JOIN lease o ON o.id = x.lease_id AND o.status = 'active'
  JOIN space s ON s.id = x.space_id
 WHERE x.space_id = ANY(%(space_ids)s) AND x.lease_id <> %(lease_id)s AND lower(x.term) < %(day)s::date
   AND NOT EXISTS (SELECT 1 FROM lease_step p
                    WHERE p.lease_id = o.id AND p.step IN ('give_back', 'sublet') AND p.detail ->> 'space' = s.code
                      AND (p.detail ->> 'closed_on')::date = upper(x.term));

-- name: registers
-- The energy registers that measure spaces at an instant, with the last reading that is known of it, up to an hour old.
SELECT DISTINCT ON (r.id) r.id AS register_id, m.code AS meter, o.taken_at, o.value
  FROM meter_space ms
  JOIN meter m ON m.id = ms.meter_id AND m.use = 'tenant'
  JOIN register r ON r.meter_id = m.id AND r.open_period @> %(at)s::timestamptz
                 AND r.quantity NOT LIKE 'reactive%%'
  LEFT JOIN LATERAL (
      (SELECT o.observed_at AS taken_at, trim_scale(o.mantissa * power(10::numeric, -o.scale)) AS value
         FROM exact_observation o
        WHERE o.point_id = r.point_id AND o.mantissa IS NOT NULL
          AND o.observed_at BETWEEN %(at)s::timestamptz - interval '1 hour' AND %(at)s::timestamptz
        ORDER BY o.observed_at DESC LIMIT 1)
      UNION ALL
      (SELECT g.taken_at, g.value FROM reading g
        WHERE g.register_id = r.id AND g.taken_at BETWEEN %(at)s::timestamptz - interval '1 hour' AND %(at)s::timestamptz
        ORDER BY g.taken_at DESC LIMIT 1)
      ORDER BY taken_at DESC LIMIT 1) o ON true
 WHERE ms.space_id = ANY(%(space_ids)s) AND ms.valid @> %(at)s::timestamptz
 ORDER BY r.id;

-- name: add_readings
-- What was read off at the handover, where no telemetry tells it.
INSERT INTO reading (register_id, taken_at, value, source, received_at)
SELECT t.register_id, %(at)s, t.value, 'handover', %(now)s
  FROM unnest(%(register_id)s::bigint[], %(value)s::numeric[]) AS t(register_id, value)
    ON CONFLICT (register_id, taken_at, source) DO UPDATE SET value = EXCLUDED.value;

-- name: activate
-- The lease runs from its first day.
UPDATE lease SET status = 'active' WHERE id = %(lease_id)s;

-- name: entitle
-- Air-conditioning hours that belong to the lease, unless it has its own already.
INSERT INTO hvac_hours (organisation_id, tenant_id, lease_id, weekday, starts, ends, valid)
SELECT l.organisation_id, l.tenant_id, l.id, t.weekday, t.starts, t.ends, daterange(%(day)s::date, upper(l.term))
  FROM lease l, unnest(%(weekday)s::smallint[], %(starts)s::time[], %(ends)s::time[]) AS t(weekday, starts, ends)
 WHERE l.id = %(lease_id)s AND (%(replace)s OR NOT EXISTS (SELECT 1 FROM hvac_hours h WHERE h.lease_id = l.id));

-- name: end_lease
-- The lease ends on a day; its later part never was.
UPDATE lease SET status = 'ended', term = daterange(lower(term), %(after)s) WHERE id = %(lease_id)s;

-- name: forget_later_spaces
-- Spaces that would only have begun after the end.
DELETE FROM lease_space WHERE lease_id = %(lease_id)s AND lower(term) >= %(after)s;

-- name: end_spaces
-- The spaces are free from the day after.
UPDATE lease_space SET term = daterange(lower(term), %(after)s)
 WHERE lease_id = %(lease_id)s AND (upper_inf(term) OR upper(term) > %(after)s);

-- name: end_hvac_hours
-- Entitlements end with the lease.
UPDATE hvac_hours SET valid = daterange(lower(valid), %(after)s)
 WHERE lease_id = %(lease_id)s AND lower(valid) < %(after)s AND (upper_inf(valid) OR upper(valid) > %(after)s);

-- name: end_head_counts
-- Nobody is counted after the end.
UPDATE head_count SET valid = daterange(lower(valid), %(after)s)
 WHERE lease_id = %(lease_id)s AND lower(valid) < %(after)s AND (upper_inf(valid) OR upper(valid) > %(after)s);

-- name: add_step
-- Who did what with the lease.
INSERT INTO lease_step (organisation_id, tenant_id, lease_id, at, actor, step, detail)
SELECT organisation_id, tenant_id, id, %(at)s, %(actor)s, %(step)s, %(detail)s FROM lease WHERE id = %(lease_id)s;

-- name: add_application
-- A company asks for spaces: an application, not a lease yet.
INSERT INTO lease (organisation_id, tenant_id, number, status, term, source_system, external_id)
VALUES (%(organisation_id)s, %(tenant_id)s, %(number)s, 'application', daterange(%(first)s, %(after)s), 'park', %(number)s)
RETURNING id;

-- name: reserve
-- An approved application holds its spaces; one that another lease holds is refused by the database.
INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term)
SELECT l.organisation_id, l.tenant_id, l.id, s.id, l.term
  FROM lease l, space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
 WHERE l.id = %(lease_id)s AND b.site_id = %(site_id)s AND s.code = ANY(%(spaces)s) AND s.use IN ('lettable', 'shared')
RETURNING space_id;

-- name: set_status
-- One step of the life of a lease.
UPDATE lease SET status = %(status)s, attributes = attributes || %(attributes)s WHERE id = %(lease_id)s;

-- name: attributes
-- What the application asked for.
SELECT attributes FROM lease WHERE id = %(lease_id)s;

-- name: lease_by_number
-- A lease's id.
SELECT id FROM lease WHERE organisation_id = %(organisation_id)s AND number = %(number)s;

-- name: tenant
-- A tenant by code.
SELECT id, code, name_zh, name_en, is_owner FROM tenant WHERE organisation_id = %(organisation_id)s AND code = %(code)s;

-- name: space
-- A space of the site with its area on a day.
SELECT s.id, s.code, s.name_zh, s.name_en, s.use, area_on(s.id, %(day)s::date) AS area_m2 FROM space s JOIN floor f ON f.id = s.floor_id
  JOIN building b ON b.id = f.building_id
 WHERE b.site_id = %(site_id)s AND s.code = %(code)s;

-- name: spaces_held
-- The spaces that a lease holds on a day.
SELECT x.id, x.space_id, s.code, x.area_m2, coalesce(x.area_m2, area_on(x.space_id, %(day)s::date)) AS area_now,
       lower(x.term) AS starts_on, upper(x.term) AS ends_on
  FROM lease_space x JOIN space s ON s.id = x.space_id
 WHERE x.lease_id = %(lease_id)s AND x.term @> %(day)s::date ORDER BY s.code;

-- name: holdings_from
-- What a lease holds on a day or later.
SELECT x.space_id, s.code, x.area_m2, lower(x.term) AS starts_on, upper(x.term) AS ends_on
  FROM lease_space x JOIN space s ON s.id = x.space_id
 WHERE x.lease_id = %(lease_id)s AND (upper_inf(x.term) OR upper(x.term) > %(day)s::date) ORDER BY s.code, x.term;

-- name: hold
-- A lease holds a space for a term; the database refuses what another lease holds.
INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term, area_m2)
SELECT organisation_id, tenant_id, id, %(space_id)s, daterange(%(first)s::date, %(after)s::date), %(area_m2)s
  FROM lease WHERE id = %(lease_id)s;

-- name: cut_space
-- A holding ends on a day.
UPDATE lease_space SET term = daterange(lower(term), %(after)s::date) WHERE id = %(id)s AND lower(term) < %(after)s::date;

-- name: drop_space
-- A holding that would begin on the day it ends never was.
DELETE FROM lease_space WHERE id = %(id)s AND lower(term) >= %(after)s::date;

-- name: follow_lease
-- A lease that follows from another: merged, or sub-let.
INSERT INTO lease (organisation_id, tenant_id, number, status, term, attributes, source_system, external_id)
SELECT organisation_id, %(tenant_id)s, %(number)s, %(status)s, daterange(%(first)s::date, %(after)s::date), %(attributes)s,
       'park', %(number)s
  FROM lease WHERE id = %(lease_id)s
RETURNING id;

-- name: copy_hvac_hours
-- The lease that follows has the air-conditioning hours of the one before.
INSERT INTO hvac_hours (organisation_id, tenant_id, lease_id, weekday, starts, ends, valid)
SELECT n.organisation_id, n.tenant_id, n.id, h.weekday, h.starts, h.ends, h.valid * n.term
  FROM hvac_hours h, lease n WHERE h.lease_id = %(from_id)s AND n.id = %(lease_id)s AND h.valid && n.term;

-- name: copy_head_counts
-- The lease that follows has the people of the one before.
INSERT INTO head_count (organisation_id, tenant_id, lease_id, valid, people)
SELECT n.organisation_id, n.tenant_id, n.id, h.valid * n.term, h.people
  FROM head_count h, lease n WHERE h.lease_id = %(from_id)s AND n.id = %(lease_id)s AND h.valid && n.term;

-- name: set_head_count
-- So many people from a day to the end of the lease.
INSERT INTO head_count (organisation_id, tenant_id, lease_id, valid, people)
SELECT organisation_id, tenant_id, id, daterange(%(day)s::date, upper(term)), %(people)s FROM lease WHERE id = %(lease_id)s;

-- name: drop_later_head_counts
-- What would only have begun after the day.
DELETE FROM head_count WHERE lease_id = %(lease_id)s AND lower(valid) >= %(after)s;

-- name: drop_later_hvac_hours
-- What would only have begun after the day.
DELETE FROM hvac_hours WHERE lease_id = %(lease_id)s AND lower(valid) >= %(after)s;

-- name: meter_shares
-- The spaces that a meter measures at an instant, with their shares; held until the transaction ends.
SELECT m.id AS meter_id, x.space_id, s.code AS space, x.share, lower(x.valid) AS valid_from, upper(x.valid) AS valid_to
  FROM meter m LEFT JOIN meter_space x ON x.meter_id = m.id AND x.valid @> %(at)s::timestamptz
  LEFT JOIN space s ON s.id = x.space_id
 WHERE m.site_id = %(site_id)s AND m.code = %(meter)s ORDER BY s.code FOR UPDATE OF m;

-- name: meter_by_code
-- A meter of the site.
SELECT id, code, name_zh, name_en, utility, use FROM meter WHERE site_id = %(site_id)s AND code = %(meter)s;

-- name: shares_of_meter
-- Which spaces a meter measured when, the latest first.
SELECT s.code AS space, s.name_zh, s.name_en, x.share, lower(x.valid) AS starts_at, upper(x.valid) AS ends_at
  FROM meter_space x JOIN space s ON s.id = x.space_id WHERE x.meter_id = %(meter_id)s
 ORDER BY lower(x.valid) DESC NULLS LAST, s.code LIMIT 500;

-- name: later_shares
-- When shares of a meter begin at an instant or later, the first of them; NULL when none do.
SELECT min(lower(valid)) AS first FROM meter_space WHERE meter_id = %(meter_id)s AND lower(valid) >= %(at)s::timestamptz;

-- name: end_shares
-- The shares of a meter end at an instant.
UPDATE meter_space SET valid = tstzrange(lower(valid), %(at)s::timestamptz)
 WHERE meter_id = %(meter_id)s AND valid @> %(at)s::timestamptz;

-- name: add_shares
-- New shares from an instant on, until those that are known begin.
INSERT INTO meter_space (meter_id, space_id, share, valid)
SELECT %(meter_id)s, t.space_id, t.share, tstzrange(%(at)s::timestamptz, %(until)s::timestamptz)
  FROM unnest(%(space_id)s::bigint[], %(share)s::numeric[]) AS t(space_id, share);

-- name: issued_bills_after
-- Bills that were issued over days that a change reaches back to: they stay, and are corrected by credit note.
SELECT DISTINCT b.number FROM bill b
 WHERE b.tenant_id = ANY(%(tenant_ids)s) AND b.state = 'issued' AND b.kind IN ('bill', 'rebill', 'final')
   AND upper(b.period) > %(day)s::date ORDER BY b.number;

-- name: running_subleases
-- Sub-leases that stand on a lease and go on after a day.
SELECT number FROM lease
 WHERE organisation_id = %(organisation_id)s AND attributes ->> 'sublet_of' = %(number)s AND status = 'active'
   AND (upper_inf(term) OR upper(term) > %(day)s::date) ORDER BY number;

-- name: other_tenancies
-- Other leases of the tenant that go on after a day.
SELECT number FROM lease
 WHERE tenant_id = %(tenant_id)s AND id <> %(lease_id)s AND status IN ('approved', 'active')
   AND (upper_inf(term) OR upper(term) > %(day)s::date) ORDER BY number;

-- name: leases_of_tenant
-- The running and coming leases of a tenant, held until the transaction ends.
SELECT id, organisation_id, tenant_id, number, status, lower(term) AS starts_on, upper(term) AS ends_on FROM lease
 WHERE tenant_id = %(tenant_id)s AND status IN ('approved', 'active') ORDER BY number FOR UPDATE;

-- name: move_lease
-- A lease that has not begun goes to the other tenant as it is.
WITH lease_moved AS (UPDATE lease SET tenant_id = %(tenant_id)s WHERE id = %(lease_id)s),
     spaces_moved AS (UPDATE lease_space SET tenant_id = %(tenant_id)s WHERE lease_id = %(lease_id)s),
     doors_moved AS (UPDATE access_entitlement SET tenant_id = %(tenant_id)s WHERE lease_id = %(lease_id)s),
     hours_moved AS (UPDATE hvac_hours SET tenant_id = %(tenant_id)s WHERE lease_id = %(lease_id)s)
UPDATE head_count SET tenant_id = %(tenant_id)s WHERE lease_id = %(lease_id)s;

-- name: leases
-- Every lease with its spaces, what needs somebody first.
SELECT l.id, l.number, l.status, lower(l.term) AS starts_on, upper(l.term) - 1 AS last_day, t.id AS tenant_id,
       t.code AS tenant, t.name_zh, t.name_en, l.attributes ->> 'sublet_of' AS sublet_of,
       coalesce((SELECT string_agg(DISTINCT s.code, ', ' ORDER BY s.code) FROM lease_space x
                   JOIN space s ON s.id = x.space_id
                  WHERE x.lease_id = l.id AND (upper_inf(x.term) OR upper(x.term) > least(%(today)s::date, upper(l.term) - 1))),
                array_to_string(ARRAY(SELECT jsonb_array_elements_text(l.attributes -> 'spaces')), ', '), '') AS spaces,
       (SELECT sum(coalesce(x.area_m2, area_on(x.space_id, d.day)))
          FROM lease_space x, least(greatest(%(today)s::date, lower(l.term)), upper(l.term) - 1) AS d(day)
         WHERE x.lease_id = l.id AND x.term @> d.day) AS area_m2,
       (SELECT h.people FROM head_count h WHERE h.lease_id = l.id
         ORDER BY h.valid @> %(today)s::date DESC, h.valid DESC LIMIT 1) AS people
  FROM lease l JOIN tenant t ON t.id = l.tenant_id
 WHERE l.organisation_id = %(organisation_id)s AND (%(tenant_id)s::bigint IS NULL OR l.tenant_id = %(tenant_id)s)
   AND (%(lease_id)s::bigint IS NULL OR l.id = %(lease_id)s)
 ORDER BY l.status IN ('ended', 'rejected'), l.status = 'approved' AND lower(l.term) > %(today)s::date,
          l.status = 'active', lower(l.term) DESC,
          l.number LIMIT 500;

-- name: lease_spaces
-- Every holding of a lease, past ones included.
SELECT s.code, s.name_zh, s.name_en, coalesce(x.area_m2, a.area_m2) AS area_m2, coalesce(a.area_kind, 'net') AS area_kind,
       lower(x.term) AS starts_on, upper(x.term) - 1 AS last_day, x.term @> %(today)s::date AS is_current
  FROM lease_space x JOIN space s ON s.id = x.space_id
  LEFT JOIN space_area a ON a.space_id = s.id
        AND a.valid @> least(greatest(%(today)s::date, lower(x.term)), upper(x.term) - 1)
 WHERE x.lease_id = %(lease_id)s ORDER BY lower(x.term), s.code;

-- name: lease_people
-- People by period.
SELECT people, lower(valid) AS starts_on, upper(valid) - 1 AS last_day FROM head_count
 WHERE lease_id = %(lease_id)s ORDER BY valid;

-- name: lease_hours
-- Air-conditioning hours by period and weekday.
SELECT weekday, starts, ends, lower(valid) AS starts_on, upper(valid) - 1 AS last_day FROM hvac_hours
 WHERE lease_id = %(lease_id)s ORDER BY valid, weekday, starts;

-- name: free_spaces
-- Spaces that may be let and that no lease holds on a day.
SELECT s.code, s.name_zh, s.name_en, a.area_m2 FROM space s JOIN floor f ON f.id = s.floor_id
  JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
  JOIN space_area a ON a.space_id = s.id AND a.valid @> %(day)s::date
 WHERE s.use = 'lettable'
   AND NOT EXISTS (SELECT 1 FROM lease_space x WHERE x.space_id = s.id AND x.term @> %(day)s::date)
 ORDER BY f.level_number, s.code;

-- name: tenants
-- The companies, for choosing one.
SELECT id, code, name_zh, name_en FROM tenant WHERE organisation_id = %(organisation_id)s AND NOT is_owner ORDER BY code;

-- name: steps
-- The history of a lease.
SELECT at, actor, step, detail FROM lease_step WHERE lease_id = %(lease_id)s ORDER BY id;

-- name: area_for_change
-- The space, held until the transaction ends, and whether its area changes after a day.
SELECT EXISTS (SELECT 1 FROM space_area a WHERE a.space_id = s.id AND lower(a.valid) > %(day)s::date) AS later
  FROM space s WHERE s.id = %(space_id)s FOR UPDATE;

-- name: drop_area
-- An area that would begin on the day it ends never was.
DELETE FROM space_area WHERE space_id = %(space_id)s AND lower(valid) >= %(day)s::date;

-- name: cut_area
-- The area ends on a day.
UPDATE space_area SET valid = daterange(lower(valid), %(day)s::date)
 WHERE space_id = %(space_id)s AND (upper_inf(valid) OR upper(valid) > %(day)s::date);

-- name: set_area
-- The area from a day on.
INSERT INTO space_area (organisation_id, space_id, valid, area_m2, area_kind)
SELECT organisation_id, id, daterange(%(day)s::date, NULL), %(area_m2)s, %(area_kind)s FROM space WHERE id = %(space_id)s;

-- name: holders_from
-- Who holds a space on a day or later.
SELECT DISTINCT tenant_id FROM lease_space WHERE space_id = %(space_id)s AND (upper_inf(term) OR upper(term) > %(day)s::date);

-- name: codes_like
-- Codes of the site that begin like a space's.
SELECT s.code FROM space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
 WHERE b.site_id = %(site_id)s AND starts_with(s.code, %(code)s);

-- name: add_part
-- A part of a space from a day on: on the same floor, for the same use, served by the same equipment.
WITH part AS (
    INSERT INTO space (organisation_id, floor_id, parent_space_id, code, name_zh, name_en, use)
    SELECT organisation_id, floor_id, id, %(code)s::text, name_zh || ' ' || suffix, name_en || ' ' || suffix, use
      FROM space, replace(%(code)s::text, space.code || '-', '') AS suffix WHERE id = %(space_id)s
    RETURNING id, organisation_id
), served AS (
    INSERT INTO equipment_serves (equipment_id, space_id)
    SELECT v.equipment_id, part.id FROM equipment_serves v, part WHERE v.space_id = %(space_id)s
), measured AS (
    INSERT INTO space_area (organisation_id, space_id, valid, area_m2, area_kind)
    SELECT part.organisation_id, part.id, daterange(%(day)s::date, NULL), %(area_m2)s, a.area_kind
      FROM part, space_area a WHERE a.space_id = %(space_id)s AND a.valid @> %(day)s::date
)
SELECT id FROM part;

-- name: begin_part
-- A part is there from the day of the division on.
UPDATE place_period SET valid = daterange(%(day)s::date, NULL) WHERE space_id = %(space_id)s;

-- name: shares_of_space
-- Which meters measure a space at an instant, and what share of each is the space's.
SELECT meter_id, share FROM meter_space WHERE space_id = %(space_id)s AND valid @> %(at)s::timestamptz ORDER BY meter_id;

-- name: later_shares_of_space
-- Whether shares of a space begin after an instant.
SELECT 1 FROM meter_space WHERE space_id = %(space_id)s AND lower(valid) > %(at)s::timestamptz LIMIT 1;

-- name: end_share
-- The share of one space in a meter ends at an instant; one that begins there never was.
WITH gone AS (DELETE FROM meter_space WHERE meter_id = %(meter_id)s AND space_id = %(space_id)s
                                        AND lower(valid) >= %(at)s::timestamptz)
UPDATE meter_space SET valid = tstzrange(lower(valid), %(at)s::timestamptz)
 WHERE meter_id = %(meter_id)s AND space_id = %(space_id)s AND valid @> %(at)s::timestamptz
   AND (lower_inf(valid) OR lower(valid) < %(at)s::timestamptz);

-- name: holdings_of_space
-- Who holds a space on a day or later.
SELECT id, lease_id, area_m2, lower(term) AS starts_on, upper(term) AS ends_on FROM lease_space
 WHERE space_id = %(space_id)s AND (upper_inf(term) OR upper(term) > %(day)s::date) ORDER BY term;

-- name: areas_of_space
-- Areas by period.
SELECT area_m2, area_kind, lower(valid) AS starts_on, upper(valid) - 1 AS last_day FROM space_area
 WHERE space_id = %(space_id)s ORDER BY valid;

-- name: meters_of_space
-- Meters and shares by period.
SELECT m.id AS meter_id, m.code AS meter, m.utility, x.share, lower(x.valid) AS starts_at, upper(x.valid) AS ends_at
  FROM meter_space x JOIN meter m ON m.id = x.meter_id WHERE x.space_id = %(space_id)s ORDER BY m.code, x.valid;

-- name: leases_of_space
-- Who held a space when.
SELECT l.id AS lease_id, l.number, t.name_zh, t.name_en, lower(x.term) AS starts_on, upper(x.term) - 1 AS last_day, x.area_m2
  FROM lease_space x JOIN lease l ON l.id = x.lease_id JOIN tenant t ON t.id = x.tenant_id
 WHERE x.space_id = %(space_id)s ORDER BY x.term;

-- name: site_of_lease
-- The site of a lease's spaces; of an application, the site it names.
SELECT coalesce((SELECT s.code FROM lease_space x JOIN space p ON p.id = x.space_id JOIN floor f ON f.id = p.floor_id
                   JOIN building b ON b.id = f.building_id JOIN site s ON s.id = b.site_id
                  WHERE x.lease_id = l.id LIMIT 1), l.attributes ->> 'site') AS code
  FROM lease l WHERE l.id = %(lease_id)s;
