-- name: site_of
-- The site that an import or a page means; without a code the only one.
SELECT s.id, s.organisation_id, s.code, s.name_zh, s.name_en, s.time_zone, s.currency, s.region
  FROM site s WHERE %(code)s::text IS NULL OR s.code = %(code)s
 ORDER BY s.id LIMIT 2;

-- name: sites
-- The sites that the viewer sees.
SELECT s.id, s.organisation_id, s.code, s.name_zh, s.name_en, s.time_zone, s.currency, s.region FROM site s ORDER BY s.id;

-- name: save_tenants
-- Tenants by code; the landlord's own account keeps its mark.
INSERT INTO tenant (organisation_id, code, name_zh, name_en, credit_code, attributes)
SELECT %(organisation_id)s, t.code, t.name_zh, t.name_en, t.credit_code, t.attributes
  FROM jsonb_to_recordset(%(rows)s) AS t(code text, name_zh text, name_en text, credit_code text, attributes jsonb)
    ON CONFLICT (organisation_id, code) DO UPDATE SET name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
        credit_code = EXCLUDED.credit_code, attributes = tenant.attributes || EXCLUDED.attributes;

-- name: tenant_codes
-- Every tenant of the organisation.
SELECT code, id FROM tenant WHERE organisation_id = %(organisation_id)s;

-- name: spaces
-- Every space of the site with what a lease must know of it.
SELECT s.code, s.id, s.use, (SELECT range_agg(a.valid) FROM space_area a WHERE a.space_id = s.id) AS measured
  FROM space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
 WHERE b.site_id = %(site_id)s;

-- name: known_leases
-- What this source told before.
SELECT l.external_id, l.id, l.version, l.status, l.attributes ->> 'told' AS told, t.code AS tenant, l.number,
       coalesce((SELECT jsonb_agg(jsonb_build_object('space', s.code, 'from', lower(x.term), 'to', upper(x.term),
                                                     'area', x.area_m2) ORDER BY s.code, x.term)
                   FROM lease_space x JOIN space s ON s.id = x.space_id WHERE x.lease_id = l.id), '[]') AS spaces,
       (SELECT h.people FROM head_count h WHERE h.lease_id = l.id ORDER BY h.valid DESC LIMIT 1) AS people
  FROM lease l JOIN tenant t ON t.id = l.tenant_id
 WHERE l.organisation_id = %(organisation_id)s AND l.source_system = %(source)s;

-- name: held_spaces
-- Which leases hold which space when: for the check against leases that this import does not replace.
SELECT s.code AS space, l.number, l.external_id, l.source_system, lower(x.term) AS starts_on, upper(x.term) AS ends_on
  FROM lease_space x
  JOIN lease l ON l.id = x.lease_id
  JOIN space s ON s.id = x.space_id
 WHERE x.organisation_id = %(organisation_id)s;

-- name: save_leases
-- Leases by source and external id; the database refuses a number used twice.
INSERT INTO lease (organisation_id, tenant_id, number, status, term, attributes, source_system, external_id, version)
SELECT %(organisation_id)s, t.tenant_id, t.number, t.status, daterange(t.starts_on, t.ends_on), t.attributes,
       %(source)s, t.external_id, t.version
  FROM jsonb_to_recordset(%(rows)s)
       AS t(tenant_id bigint, number text, status text, starts_on date, ends_on date, attributes jsonb,
            external_id text, version int)
    ON CONFLICT (organisation_id, source_system, external_id) DO UPDATE SET tenant_id = EXCLUDED.tenant_id,
        number = EXCLUDED.number, status = EXCLUDED.status, term = EXCLUDED.term, attributes = lease.attributes || EXCLUDED.attributes,
        version = EXCLUDED.version
RETURNING external_id, id;

-- name: forget_spaces
-- Before the new truth is stored; history keeps the old rows.
DELETE FROM lease_space WHERE lease_id = ANY(%(lease_ids)s);

-- name: forget_head_counts
-- Before the new truth is stored.
DELETE FROM head_count WHERE lease_id = ANY(%(lease_ids)s);

-- name: save_spaces
-- The spaces of each lease; two leases on one space and day violate one_lease_per_space_and_day.
INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term, area_m2)
SELECT %(organisation_id)s, t.tenant_id, t.lease_id, t.space_id, daterange(t.starts_on, t.ends_on), t.area_m2
  FROM jsonb_to_recordset(%(rows)s)
       AS t(tenant_id bigint, lease_id bigint, space_id bigint, starts_on date, ends_on date, area_m2 numeric);

-- name: save_head_counts
-- People as the lease tells them, for its whole term.
INSERT INTO head_count (organisation_id, tenant_id, lease_id, valid, people)
SELECT %(organisation_id)s, t.tenant_id, t.lease_id, daterange(t.starts_on, t.ends_on), t.people
  FROM jsonb_to_recordset(%(rows)s)
       AS t(tenant_id bigint, lease_id bigint, starts_on date, ends_on date, people int);

-- name: audit
-- An import can change bills: who, when, what.
INSERT INTO audit_entry (organisation_id, at, actor, action, subject, reason, detail)
VALUES (%(organisation_id)s, %(at)s, %(actor)s, %(action)s, %(subject)s, %(reason)s, %(detail)s);

-- name: leases_without_meter
-- Spaces let today that no meter measures.
SELECT l.number, s.code FROM lease_space x
  JOIN lease l ON l.id = x.lease_id JOIN space s ON s.id = x.space_id
  JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
 WHERE x.organisation_id = %(organisation_id)s AND x.term @> %(today)s::date
   AND NOT EXISTS (SELECT 1 FROM meter_space m WHERE m.space_id = x.space_id AND m.valid @> %(now)s::timestamptz)
 ORDER BY l.number, s.code;

-- name: meters_without_lease
-- Tenant meters of which no space is let today.
SELECT m.code FROM meter m
 WHERE m.site_id = %(site_id)s AND m.use = 'tenant'
   AND NOT EXISTS (SELECT 1 FROM meter_space ms JOIN lease_space x ON x.space_id = ms.space_id
                    WHERE ms.meter_id = m.id AND ms.valid @> %(now)s::timestamptz AND x.term @> %(today)s::date)
 ORDER BY m.code;

-- name: areas_that_differ
-- Leased area against the space's, and spaces against their floor.
SELECT l.number AS lease, s.code AS place, x.area_m2 AS told, a.area_m2 AS known
  FROM lease_space x JOIN lease l ON l.id = x.lease_id JOIN space s ON s.id = x.space_id
  JOIN space_area a ON a.space_id = s.id AND a.valid @> %(today)s::date
  JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
 WHERE x.organisation_id = %(organisation_id)s AND x.term @> %(today)s::date AND x.area_m2 <> a.area_m2
UNION ALL
SELECT NULL, f.code, sum(a.area_m2), f.area_m2
  FROM floor f JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s JOIN space s ON s.floor_id = f.id
  JOIN space_area a ON a.space_id = s.id AND a.valid @> %(today)s::date
 WHERE f.area_m2 IS NOT NULL GROUP BY f.id HAVING sum(a.area_m2) > f.area_m2
 ORDER BY 1, 2;

-- name: keep_upload
-- Files between preview and import; a person has one upload at a time.
WITH forgotten AS (DELETE FROM lease_upload WHERE organisation_id = %(organisation_id)s AND actor = %(actor)s)
INSERT INTO lease_upload (organisation_id, actor, at, source, name, content)
VALUES (%(organisation_id)s, %(actor)s, %(at)s, %(source)s, %(name)s, %(content)s) RETURNING id;

-- name: take_upload
-- An upload is imported once.
DELETE FROM lease_upload WHERE id = %(id)s AND actor = %(actor)s RETURNING name, content, source;

-- name: after_hours_policy
-- A site's parameters for air conditioning after hours.
SELECT attributes -> 'after_hours' AS content FROM site WHERE id = %(site_id)s;

-- name: set_after_hours_policy
-- New parameters; the audit trail keeps who changed them.
UPDATE site SET attributes = attributes || jsonb_build_object('after_hours', %(content)s::jsonb) WHERE id = %(site_id)s;

-- name: held_by_tenant
-- The running lease by which a tenant holds a space on a day.
SELECT x.lease_id, x.space_id FROM lease_space x
  JOIN lease l ON l.id = x.lease_id AND l.status = 'active'
  JOIN space s ON s.id = x.space_id AND s.code = %(space)s
  JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
 WHERE x.tenant_id = %(tenant_id)s AND x.term @> %(day)s::date LIMIT 1;

-- name: hours_on_days
-- The lease's own air-conditioning hours on some days.
SELECT d.day, h.starts, h.ends FROM unnest(%(days)s::date[]) AS d(day)
  JOIN hvac_hours h ON h.lease_id = %(lease_id)s AND h.valid @> d.day AND h.weekday = extract(isodow FROM d.day)
 ORDER BY d.day, h.starts;

-- name: add_hvac_request
-- A request for the lease's space; one space cannot be asked for twice at one time.
INSERT INTO hvac_request (organisation_id, tenant_id, lease_id, space_id, period, state, asked_at, asked_by, decided_at,
                          decided_by)
SELECT organisation_id, tenant_id, id, %(space_id)s, tstzrange(%(first)s::timestamptz, %(last)s::timestamptz), %(state)s, %(at)s, %(actor)s,
       %(decided_at)s, %(decided_by)s
  FROM lease WHERE id = %(lease_id)s
RETURNING id;

-- name: decide_hvac_request
-- One step of a request, before it begins: what has begun is charged.
UPDATE hvac_request SET state = %(state)s, decided_at = %(at)s, decided_by = %(actor)s, reason = %(reason)s
 WHERE id = %(id)s AND state = ANY(%(from_states)s) AND lower(period) > %(at)s::timestamptz
   AND (%(tenant_id)s::bigint IS NULL OR tenant_id = %(tenant_id)s)
RETURNING id;

-- name: hvac_requests
-- Requests, those that wait first.
SELECT r.id, r.state, lower(r.period) AS starts_at, upper(r.period) AS ends_at, r.asked_at, r.asked_by, r.decided_by,
       r.reason, s.code AS space, s.name_zh AS space_zh, s.name_en AS space_en, t.code AS tenant, t.name_zh, t.name_en
  FROM hvac_request r JOIN space s ON s.id = r.space_id JOIN tenant t ON t.id = r.tenant_id
 WHERE r.organisation_id = %(organisation_id)s AND (%(tenant_id)s::bigint IS NULL OR r.tenant_id = %(tenant_id)s)
 ORDER BY r.state = 'requested' DESC, lower(r.period) DESC LIMIT %(limit)s;

-- name: booked_after_hours
-- What runs after hours in a stretch of time.
SELECT r.id, lower(r.period) AS starts_at, upper(r.period) AS ends_at, s.code AS space, s.name_zh AS space_zh,
       s.name_en AS space_en, t.name_zh, t.name_en
  FROM hvac_request r JOIN space s ON s.id = r.space_id JOIN tenant t ON t.id = r.tenant_id
 WHERE r.organisation_id = %(organisation_id)s AND r.state = 'approved'
   AND (%(tenant_id)s::bigint IS NULL OR r.tenant_id = %(tenant_id)s)
   AND r.period && tstzrange(%(now)s::timestamptz, %(until)s::timestamptz)
 ORDER BY lower(r.period), s.code LIMIT 50;

-- name: spaces_of_tenant
-- What a tenant holds on a day.
SELECT s.code, s.name_zh, s.name_en FROM lease_space x JOIN space s ON s.id = x.space_id
  JOIN lease l ON l.id = x.lease_id AND l.status = 'active'
 WHERE x.tenant_id = %(tenant_id)s AND x.term @> %(day)s::date ORDER BY s.code;

-- name: add_notice
-- A notice in both languages.
INSERT INTO notice (organisation_id, kind, title_zh, title_en, body_zh, body_en, shown, written_at, written_by)
VALUES (%(organisation_id)s, %(kind)s, %(title_zh)s, %(title_en)s, %(body_zh)s, %(body_en)s,
        daterange(%(first)s::date, %(after)s::date), %(at)s, %(actor)s)
RETURNING id;

-- name: withdraw_notice
-- It is not shown any more.
UPDATE notice SET withdrawn_at = %(at)s WHERE id = %(id)s AND withdrawn_at IS NULL RETURNING id;

-- name: notices_shown
-- What tenants read on a day.
SELECT id, kind, title_zh, title_en, body_zh, body_en, lower(shown) AS first, count(*) OVER ()::int AS total FROM notice
 WHERE organisation_id = %(organisation_id)s AND shown @> %(day)s::date AND withdrawn_at IS NULL
 ORDER BY lower(shown) DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: notices
-- Every notice, newest first.
SELECT id, kind, title_zh, title_en, lower(shown) AS first, upper(shown) - 1 AS last_day, written_by, withdrawn_at,
       count(*) OVER ()::int AS total
  FROM notice WHERE organisation_id = %(organisation_id)s ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s;

-- name: add_tenant
-- A company, before its first lease.
INSERT INTO tenant (organisation_id, code, name_zh, name_en, credit_code, attributes)
VALUES (%(organisation_id)s, %(code)s, %(name_zh)s, %(name_en)s, %(credit_code)s, %(attributes)s)
    ON CONFLICT (organisation_id, code) DO NOTHING RETURNING id;

-- name: change_tenant
-- Names and contacts of a company; what is not given stays.
UPDATE tenant SET name_zh = %(name_zh)s, name_en = %(name_en)s, credit_code = %(credit_code)s,
       attributes = attributes || %(attributes)s
 WHERE id = %(id)s AND organisation_id = %(organisation_id)s RETURNING id;

-- name: tenant_profile
-- One company.
SELECT id, code, name_zh, name_en, credit_code, attributes, is_owner FROM tenant
 WHERE id = %(id)s AND organisation_id = %(organisation_id)s;

-- name: tenant_by_code
-- One company by its code.
SELECT id, code, name_zh, name_en, credit_code, attributes FROM tenant
 WHERE code = %(code)s AND organisation_id = %(organisation_id)s AND NOT is_owner;

-- name: companies
-- The companies with what they hold on a day.
SELECT t.id, t.code, t.name_zh, t.name_en, t.attributes,
       (SELECT string_agg(DISTINCT s.code, ', ') FROM lease_space x JOIN space s ON s.id = x.space_id
         WHERE x.tenant_id = t.id AND x.term @> %(day)s::date) AS spaces,
       (SELECT sum(coalesce(x.area_m2, area_on(x.space_id, %(day)s::date))) FROM lease_space x
         WHERE x.tenant_id = t.id AND x.term @> %(day)s::date) AS area_m2
  FROM tenant t WHERE t.organisation_id = %(organisation_id)s AND NOT t.is_owner ORDER BY t.code LIMIT 1000;

-- name: drop_access
-- Entitlements that would only have begun from a day on; without a day all of them.
DELETE FROM access_entitlement
 WHERE lease_id = ANY(%(lease_ids)s) AND lower(valid) >= coalesce(%(day)s::date, '-infinity');

-- name: cut_access
-- Entitlements end on a day; those that go on are granted again.
UPDATE access_entitlement SET valid = daterange(lower(valid), %(day)s::date)
 WHERE lease_id = ANY(%(lease_ids)s) AND (upper_inf(valid) OR upper(valid) > %(day)s::date);

-- name: grant_access
-- The doors that serve a space of a lease, while it holds it, from a day on.
INSERT INTO access_entitlement (organisation_id, tenant_id, lease_id, equipment_id, valid)
SELECT l.organisation_id, l.tenant_id, l.id, e.id, unnest(range_agg(x.term * daterange(%(day)s::date, NULL)))
  FROM lease l
  JOIN lease_space x ON x.lease_id = l.id AND x.term && daterange(%(day)s::date, NULL)
  JOIN equipment_serves v ON v.space_id = x.space_id
  JOIN equipment e ON e.id = v.equipment_id AND e.brick_class LIKE 'Access%%'
 WHERE l.id = ANY(%(lease_ids)s) AND l.status IN ('active', 'ended')
 GROUP BY l.id, e.id;

-- name: lease_doors
-- The doors that a lease opens; touching periods are one.
SELECT e.code, e.name_zh, e.name_en, lower(p.term) AS starts_on, upper(p.term) - 1 AS last_day,
       p.term @> %(day)s::date AS is_current
  FROM (SELECT equipment_id, unnest(range_agg(valid)) AS term FROM access_entitlement
         WHERE lease_id = %(lease_id)s GROUP BY equipment_id) p
  JOIN equipment e ON e.id = p.equipment_id ORDER BY e.code, p.term;

-- name: save_cards
-- Cards by tenant and credential; another period replaces the known one.
WITH told AS (
    SELECT t.tenant_id, t.credential, daterange(t.first, t.after) AS valid
      FROM jsonb_to_recordset(%(rows)s) AS t(tenant_id bigint, credential text, first date, after date)
), changed AS (
    UPDATE access_card c SET valid = t.valid, recorded_at = %(at)s, recorded_by = %(actor)s FROM told t
     WHERE c.organisation_id = %(organisation_id)s AND c.tenant_id = t.tenant_id AND c.credential = t.credential
       AND c.valid <> t.valid
    RETURNING c.id
), added AS (
    INSERT INTO access_card (organisation_id, tenant_id, credential, valid, recorded_at, recorded_by)
    SELECT %(organisation_id)s, t.tenant_id, t.credential, t.valid, %(at)s, %(actor)s FROM told t
     WHERE NOT EXISTS (SELECT 1 FROM access_card c WHERE c.organisation_id = %(organisation_id)s
                          AND c.tenant_id = t.tenant_id AND c.credential = t.credential)
    RETURNING id
)
SELECT id FROM changed UNION ALL SELECT id FROM added;

-- name: drop_cards
-- Cards that would only have begun later.
DELETE FROM access_card WHERE tenant_id = %(tenant_id)s AND lower(valid) >= %(after)s::date;

-- name: end_cards
-- The tenant's cards open nothing from a day on.
UPDATE access_card SET valid = daterange(lower(valid), %(after)s::date)
 WHERE tenant_id = %(tenant_id)s AND (upper_inf(valid) OR upper(valid) > %(after)s::date);

-- name: card_count
-- Valid cards of a tenant.
SELECT count(*)::int AS count FROM access_card WHERE tenant_id = %(tenant_id)s AND valid @> %(day)s::date;

-- name: site_of_tenant
-- The site of a space that a tenant holds or held, the latest first.
SELECT i.code FROM lease_space x JOIN space s ON s.id = x.space_id AND s.code = %(space)s
  JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id JOIN site i ON i.id = b.site_id
 WHERE x.tenant_id = %(tenant_id)s ORDER BY x.term DESC LIMIT 1;
