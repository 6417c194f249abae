-- name: site_of
-- The site that an import or a page means; without a code the only one.
SELECT s.id, s.organisation_id, s.code, s.name_zh, s.name_en, s.time_zone, s.currency, s.region
  FROM site s WHERE %(code)s::text IS NULL OR s.code = %(code)s
 ORDER BY s.id LIMIT 2;

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
SELECT s.code, s.id, s.use, s.area_m2
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
SELECT l.number AS lease, s.code AS place, x.area_m2 AS told, s.area_m2 AS known
  FROM lease_space x JOIN lease l ON l.id = x.lease_id JOIN space s ON s.id = x.space_id
 WHERE x.organisation_id = %(organisation_id)s AND x.area_m2 IS NOT NULL AND x.area_m2 <> s.area_m2
UNION ALL
SELECT NULL, f.code, sum(s.area_m2), f.area_m2
  FROM floor f JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s JOIN space s ON s.floor_id = f.id
 WHERE f.area_m2 IS NOT NULL GROUP BY f.id HAVING sum(s.area_m2) > f.area_m2
 ORDER BY 1, 2;

-- name: keep_upload
-- Files between preview and import; a person has one upload at a time.
WITH forgotten AS (DELETE FROM lease_upload WHERE organisation_id = %(organisation_id)s AND actor = %(actor)s)
INSERT INTO lease_upload (organisation_id, actor, at, source, name, content)
VALUES (%(organisation_id)s, %(actor)s, %(at)s, %(source)s, %(name)s, %(content)s) RETURNING id;

-- name: take_upload
-- An upload is imported once.
DELETE FROM lease_upload WHERE id = %(id)s AND actor = %(actor)s RETURNING name, content, source;
