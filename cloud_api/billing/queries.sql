-- name: sites
-- The site that is meant, with its issuer and the landlord's own account; without a code the only one.
SELECT s.id, s.organisation_id, s.code, s.name_zh, s.name_en, o.code AS issuer_code, o.name_zh AS issuer_zh,
       o.name_en AS issuer_en, s.time_zone, s.currency, s.contract_demand_kw,
       (SELECT t.id FROM tenant t WHERE t.organisation_id = o.id AND t.is_owner ORDER BY t.id LIMIT 1) AS owner_id
  FROM site s JOIN organisation o ON o.id = s.organisation_id
 WHERE (%(code)s::text IS NULL OR s.code = %(code)s) AND (%(id)s::bigint IS NULL OR s.id = %(id)s)
 ORDER BY s.id LIMIT 2;

-- name: meters
-- Every meter of the utility with its place in the tree.
SELECT m.id, m.code, m.name_zh, m.name_en, m.use, m.parent_meter_id,
       interval_lengths(m.id, m.interval_minutes) AS lengths
  FROM meter m WHERE m.site_id = %(site_id)s AND m.utility = %(utility)s ORDER BY m.code;

-- name: meter_shares
-- Which meter measures which space in the period, as known at an instant.
SELECT x.meter_id, x.space_id, s.code AS space, x.share, lower(x.valid) AS valid_from, upper(x.valid) AS valid_to
  FROM meter_space_as_known(%(known_at)s::timestamptz) x
  JOIN meter m ON m.id = x.meter_id AND m.site_id = %(site_id)s AND m.utility = %(utility)s AND m.use = 'tenant'
  JOIN space s ON s.id = x.space_id
 WHERE x.valid && tstzrange(%(start)s, %(end)s)
 ORDER BY x.meter_id, s.code, x.valid;

-- name: tenancies
-- Who held which space in the period, as known at an instant; cut where the lease's people or the space's area change.
WITH people AS MATERIALIZED (SELECT lease_id, valid, people FROM head_count_as_known(%(known_at)s::timestamptz)),
     area AS MATERIALIZED (SELECT space_id, valid, area_m2 FROM space_area_as_known(%(known_at)s::timestamptz))
SELECT x.space_id, s.code AS space, x.tenant_id, x.lease_id, l.number AS lease, l.version AS lease_version,
       lower(a.term) AS starts_on, upper(a.term) AS ends_on, coalesce(x.area_m2, a.area_m2, 0) AS area_m2, p.people,
       (l.attributes ->> 'contract_kw')::numeric AS contract_kw, (l.attributes ->> 'capacity_kva')::numeric AS capacity_kva
  FROM lease_space_as_known(%(known_at)s::timestamptz) x
  JOIN lease l ON l.id = x.lease_id AND l.status IN ('approved', 'active', 'ended')
  JOIN space s ON s.id = x.space_id
  JOIN floor f ON f.id = s.floor_id
  JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
 CROSS JOIN LATERAL (
      SELECT x.term * h.valid AS term, h.people FROM people h WHERE h.lease_id = x.lease_id AND h.valid && x.term
      UNION ALL
      SELECT r.term, NULL FROM unnest(datemultirange(x.term) - coalesce(
          (SELECT range_agg(h.valid) FROM people h WHERE h.lease_id = x.lease_id), '{}')) AS r(term)) p
 CROSS JOIN LATERAL (
      SELECT p.term * v.valid AS term, v.area_m2 FROM area v WHERE v.space_id = x.space_id AND v.valid && p.term
      UNION ALL
      SELECT r.term, NULL FROM unnest(datemultirange(p.term) - coalesce(
          (SELECT range_agg(v.valid) FROM area v WHERE v.space_id = x.space_id), '{}')) AS r(term)) a
 WHERE a.term && daterange(%(first)s, %(after)s)
 ORDER BY x.tenant_id, s.code, a.term;

-- name: lettable_spaces
-- Spaces that can be let, for what is vacant; a row per area in the period, as known at an instant.
SELECT s.id, s.code, coalesce(a.area_m2, 0) AS area_m2, lower(a.valid) AS starts_on, upper(a.valid) AS ends_on
  FROM space s JOIN floor f ON f.id = s.floor_id JOIN building b ON b.id = f.building_id
  LEFT JOIN space_area_as_known(%(known_at)s::timestamptz) a
         ON a.space_id = s.id AND a.valid && daterange(%(first)s, %(after)s)
 WHERE b.site_id = %(site_id)s AND s.use = 'lettable' ORDER BY s.code, a.valid;

-- name: places
-- What the site's spaces were called and where they stood in the period, as known at an instant.
WITH known AS MATERIALIZED (
    SELECT * FROM place_period_as_known(%(known_at)s::timestamptz) WHERE valid && daterange(%(first)s, %(after)s))
SELECT s.space_id, lower(s.valid * f.valid * b.valid) AS starts_on, upper(s.valid * f.valid * b.valid) AS ends_on,
       s.name_zh AS space_zh, s.name_en AS space_en, f.name_zh AS floor_zh, f.name_en AS floor_en,
       b.name_zh AS building_zh, b.name_en AS building_en
  FROM known s
  JOIN known f ON f.floor_id = s.in_floor_id AND f.valid && s.valid
  JOIN known b ON b.building_id = f.in_building_id AND b.valid && (s.valid * f.valid)
  JOIN building o ON o.id = b.building_id AND o.site_id = %(site_id)s
 WHERE s.space_id IS NOT NULL AND s.valid * f.valid * b.valid && daterange(%(first)s, %(after)s)
 ORDER BY s.space_id, 2 NULLS FIRST;

-- name: site_name
-- What the site was called on a day, as known at an instant.
SELECT name_zh AS zh, name_en AS en FROM place_period_as_known(%(known_at)s::timestamptz)
 WHERE site_id = %(site_id)s AND valid @> %(day)s::date;

-- name: tenants
-- Names for bills.
SELECT id, code, name_zh, name_en, credit_code, attributes, is_owner
  FROM tenant WHERE organisation_id = %(organisation_id)s ORDER BY id;

-- name: registers_of_parts
-- Which registers counted the energy of meter stretches.
SELECT p.part, r.id AS register_id, p.starts_at, p.ends_at
  FROM unnest(%(part)s::int[], %(meter_id)s::bigint[], %(starts_at)s::timestamptz[], %(ends_at)s::timestamptz[])
       AS p(part, meter_id, starts_at, ends_at)
  JOIN register r ON r.meter_id = p.meter_id AND r.quantity = %(quantity)s
   AND r.open_period && tstzrange(p.starts_at, p.ends_at);

-- name: readings_at
-- The reading beside each boundary: the last one at or before it, else the first one after it.
SELECT b.part, b.edge, r.id AS register_id, x.taken_at, x.value, r.multiplier
  FROM unnest(%(part)s::int[], %(edge)s::text[], %(meter_id)s::bigint[], %(at)s::timestamptz[])
       AS b(part, edge, meter_id, at)
  JOIN register r ON r.meter_id = b.meter_id AND r.quantity = %(quantity)s
   AND (r.open_period @> b.at OR upper(r.open_period) = b.at)
  LEFT JOIN LATERAL (
      (SELECT v.taken_at, v.value FROM (
          SELECT o.observed_at AS taken_at, o.mantissa * power(10::numeric, -o.scale) AS value
            FROM exact_observation o
           WHERE o.point_id = r.point_id AND o.observed_at <= b.at AND o.observed_at > b.at - interval '40 days'
             AND o.mantissa IS NOT NULL ORDER BY o.observed_at DESC LIMIT 1) v)
      UNION ALL
      (SELECT q.taken_at, q.value FROM reading q WHERE q.register_id = r.id AND q.taken_at <= b.at
        ORDER BY q.taken_at DESC LIMIT 1)
      ORDER BY taken_at DESC LIMIT 1) x ON true
 ORDER BY b.part, b.edge, r.id;

-- name: used_before
-- Energy per bucket on earlier bills of the tier period: where yearly steps go on.
SELECT b.tenant_id, u.bucket, sum(u.own + u.common + u.loss) AS quantity
  FROM bill b, jsonb_to_recordset(b.snapshot -> 'usage') AS u(bucket text, own numeric, common numeric, loss numeric)
 WHERE b.site_id = %(site_id)s AND b.kind IN ('bill', 'final') AND b.state IN ('issued', 'approved', 'reviewed')
   AND b.snapshot ->> 'utility' = %(utility)s
   AND lower(b.period) >= %(tier_start)s AND upper(b.period) <= %(first)s
 GROUP BY b.tenant_id, u.bucket;

-- name: earlier_bills
-- Totals of last month's and last year's bills, for comparison.
SELECT b.tenant_id, CASE WHEN b.period && %(last_month)s::daterange THEN 'last_month' ELSE 'last_year' END AS "when",
       b.total, b.snapshot ->> 'quantity' AS quantity
  FROM bill b
 WHERE b.site_id = %(site_id)s AND b.kind = 'bill' AND b.state IN ('issued', 'credited')
   AND b.snapshot ->> 'utility' = %(utility)s
   AND lower(b.period) <@ ANY(ARRAY[%(last_month)s::daterange, %(last_year)s::daterange]);

-- name: resale_of_runs
-- What issued runs of some days recovered, and what was paid for the same energy.
SELECT coalesce(sum((r.summary -> 'resale' ->> 'recovered')::numeric), 0) AS recovered,
       coalesce(sum((r.summary -> 'resale' ->> 'paid_for_same_energy')::numeric), 0) AS paid
  FROM bill_run r
 WHERE r.site_id = %(site_id)s AND r.utility = %(utility)s AND r.state = 'issued'
   AND lower(r.period) >= %(since)s AND upper(r.period) <= %(until)s;

-- name: corrections_of
-- The lines of credit notes and corrected bills of some days.
SELECT b.snapshot -> 'lines' AS lines FROM bill b
 WHERE b.site_id = %(site_id)s AND b.kind IN ('credit_note', 'rebill') AND b.snapshot ->> 'utility' = %(utility)s
   AND lower(b.period) >= %(since)s AND upper(b.period) <= %(until)s;

-- name: calendar_days
-- The holiday calendar of a region.
SELECT day, kind, name, official_doc FROM holiday_calendar WHERE region = %(region)s ORDER BY day;

-- name: calendar_years
-- The years of a region that are official.
SELECT year FROM holiday_year WHERE region = %(region)s ORDER BY year;

-- name: seed_calendar_days
-- Days from a library; what people entered stays.
INSERT INTO holiday_calendar (region, day, kind, name, official_doc)
SELECT %(region)s, t.day, t.kind, t.name, t.official_doc
  FROM unnest(%(day)s::date[], %(kind)s::text[], %(name)s::text[], %(doc)s::text[]) AS t(day, kind, name, official_doc)
 WHERE NOT EXISTS (SELECT 1 FROM holiday_year y WHERE y.region = %(region)s AND y.year = extract(year FROM t.day))
    ON CONFLICT (region, day) DO NOTHING;

-- name: seed_calendar_years
-- Years from a library.
INSERT INTO holiday_year (region, year, official_doc)
SELECT %(region)s, t.year, %(doc)s FROM unnest(%(year)s::int[]) AS t(year) ON CONFLICT DO NOTHING;

-- name: newest_tariff
-- The current revision of a tariff.
SELECT id, code, revision, sha256, content, recorded_at, recorded_by FROM tariff
 WHERE organisation_id = %(organisation_id)s AND code = %(code)s ORDER BY revision DESC LIMIT 1;

-- name: tariff_revision
-- One revision, as a bill names it.
SELECT id, code, revision, sha256, content, recorded_at, recorded_by FROM tariff
 WHERE organisation_id = %(organisation_id)s AND code = %(code)s AND revision = %(revision)s;

-- name: tariffs
-- The newest revision of every tariff, and where it is used.
SELECT DISTINCT ON (t.code) t.id, t.code, t.revision, t.sha256, t.content, t.recorded_at, t.recorded_by,
       (SELECT jsonb_agg(jsonb_build_object('site', s.code, 'name_zh', s.name_zh, 'name_en', s.name_en,
                                           'utility', x.utility, 'payer', x.payer))
          FROM site_tariff x JOIN site s ON s.id = x.site_id
         WHERE x.organisation_id = t.organisation_id AND x.tariff_code = t.code) AS used
  FROM tariff t WHERE t.organisation_id = %(organisation_id)s ORDER BY t.code, t.revision DESC;

-- name: add_tariff
-- A new revision.
INSERT INTO tariff (organisation_id, code, revision, sha256, content, recorded_at, recorded_by)
VALUES (%(organisation_id)s, %(code)s, %(revision)s, %(sha256)s, %(content)s, %(at)s, %(actor)s) RETURNING id;

-- name: use_tariff
-- Which tariff a site's tenants (or the landlord) pay.
INSERT INTO site_tariff (organisation_id, site_id, utility, payer, tariff_code)
VALUES (%(organisation_id)s, %(site_id)s, %(utility)s, %(payer)s, %(code)s)
    ON CONFLICT (site_id, utility, payer) DO UPDATE SET tariff_code = EXCLUDED.tariff_code;

-- name: tariff_drafts
-- The tariffs that somebody is entering, newest first.
SELECT id, content, saved_at, saved_by FROM tariff_draft
 WHERE organisation_id = %(organisation_id)s ORDER BY saved_at DESC LIMIT %(limit)s;

-- name: tariff_draft
-- One of them.
SELECT id, content, saved_at, saved_by FROM tariff_draft WHERE organisation_id = %(organisation_id)s AND id = %(id)s;

-- name: count_tariff_drafts
-- How many there are: they are bounded.
SELECT count(*) AS count FROM tariff_draft WHERE organisation_id = %(organisation_id)s;

-- name: add_tariff_draft
-- A new draft.
INSERT INTO tariff_draft (organisation_id, content, saved_at, saved_by)
VALUES (%(organisation_id)s, %(content)s, %(at)s, %(actor)s) RETURNING id;

-- name: change_tariff_draft
-- What its author changed.
UPDATE tariff_draft SET content = %(content)s, saved_at = %(at)s, saved_by = %(actor)s
 WHERE organisation_id = %(organisation_id)s AND id = %(id)s RETURNING id;

-- name: delete_tariff_draft
-- It was put in force, or nobody wants it.
DELETE FROM tariff_draft WHERE organisation_id = %(organisation_id)s AND id = %(id)s;

-- name: site_tariffs
-- Tariffs in use at a site.
SELECT utility, payer, tariff_code FROM site_tariff WHERE site_id = %(site_id)s;

-- name: newest_policy
-- The parameters in force.
SELECT content FROM billing_policy WHERE site_id = %(site_id)s ORDER BY id DESC LIMIT 1;

-- name: add_policy
-- New parameters; the old ones stay with the bills they made.
INSERT INTO billing_policy (organisation_id, site_id, content, recorded_at, recorded_by)
VALUES (%(organisation_id)s, %(site_id)s, %(content)s, %(at)s, %(actor)s);

-- name: utility_bills_in
-- The utility's bills of these days, as known at an instant.
SELECT id, content, lower(period) AS first, upper(period) AS after FROM utility_bill_as_known(%(known_at)s::timestamptz)
 WHERE site_id = %(site_id)s AND utility = %(utility)s AND period && daterange(%(first)s, %(after)s)
 ORDER BY period;

-- name: save_utility_bill
-- Enter or replace the utility's bill of a period.
INSERT INTO utility_bill (organisation_id, site_id, utility, period, content, total, recorded_by)
VALUES (%(organisation_id)s, %(site_id)s, %(utility)s, daterange(%(first)s, %(after)s), %(content)s, %(total)s, %(actor)s)
RETURNING id;

-- name: forget_utility_bill
-- A bill that is replaced or was entered by mistake; runs that used it still know it.
DELETE FROM utility_bill WHERE id = %(id)s AND organisation_id = %(organisation_id)s;

-- name: utility_bills
-- The utility's bills that were entered, newest first.
SELECT u.id, s.code AS site, s.name_zh, s.name_en, s.currency, u.utility, lower(u.period) AS starts_on, upper(u.period) AS ends_on, u.total, u.content,
       u.recorded_at, u.recorded_by
  FROM utility_bill u JOIN site s ON s.id = u.site_id
 WHERE u.organisation_id = %(organisation_id)s ORDER BY u.period DESC, u.id LIMIT %(limit)s;

-- name: utility_bill_by_id
-- One of the utility's bills that were entered.
SELECT u.id, u.site_id, s.code AS site, s.name_zh, s.name_en, s.currency, u.utility, lower(u.period) AS starts_on,
       upper(u.period) AS ends_on, u.total, u.content, u.recorded_at, u.recorded_by
  FROM utility_bill u JOIN site s ON s.id = u.site_id
 WHERE u.organisation_id = %(organisation_id)s AND u.id = %(id)s;

-- name: site_list
-- The sites that the viewer may see, for forms.
SELECT code, name_zh, name_en, currency FROM site ORDER BY name_en, id LIMIT 200;

-- name: days_to_bill
-- The days of a cycle that no issued run covers, in order: none when all are billed, two stretches around a billed one.
SELECT lower(d) AS first, upper(d) AS after
  FROM unnest(datemultirange(daterange(%(first)s, %(after)s)) - coalesce(
       (SELECT range_agg(r.period) FROM bill_run r
         WHERE r.site_id = %(site_id)s AND r.utility = %(utility)s AND r.state = 'issued' AND r.tenant_id IS NULL),
       '{}')) AS d
 ORDER BY 1;

-- name: open_runs
-- Runs of these days that were neither issued nor cancelled, held until the transaction ends.
SELECT * FROM bill_run
 WHERE site_id = %(site_id)s AND utility = %(utility)s AND period && daterange(%(first)s, %(after)s)
   AND state NOT IN ('cancelled', 'issued') AND tenant_id IS NULL
   FOR UPDATE;

-- name: run_by_id
-- One run.
SELECT r.*, s.code AS site_code, s.currency FROM bill_run r JOIN site s ON s.id = r.site_id WHERE r.id = %(run_id)s;

-- name: lock_run
-- One run, held until the transaction ends.
SELECT * FROM bill_run WHERE id = %(run_id)s FOR UPDATE;

-- name: runs
-- Runs of an organisation, newest period first.
SELECT r.id, r.utility, lower(r.period) AS starts_on, upper(r.period) AS ends_on, r.state, r.prepared_by, r.created_at,
       r.finished_at, r.summary, s.code AS site_code, s.name_zh, s.name_en, s.currency
  FROM bill_run r JOIN site s ON s.id = r.site_id
 WHERE r.organisation_id = %(organisation_id)s AND r.state <> 'cancelled'
 ORDER BY r.period DESC, r.id DESC LIMIT %(limit)s;

-- name: add_run
-- A run begins as a draft.
INSERT INTO bill_run (organisation_id, site_id, utility, period, state, prepared_by, created_at)
VALUES (%(organisation_id)s, %(site_id)s, %(utility)s, daterange(%(first)s, %(after)s), 'draft', %(actor)s, %(at)s)
RETURNING id;

-- name: add_final_run
-- A run of one tenant who moves out.
INSERT INTO bill_run (organisation_id, site_id, utility, period, state, prepared_by, created_at, tenant_id)
VALUES (%(organisation_id)s, %(site_id)s, %(utility)s, daterange(%(first)s, %(after)s), 'draft', %(actor)s, %(at)s,
        %(tenant_id)s)
RETURNING id;

-- name: final_bill_of_run
-- The only bill of such a run.
SELECT id FROM bill WHERE run_id = %(run_id)s AND kind = 'final';

-- name: final_bills
-- Tenants who got their final bill for days of the period, with the days that it covers.
SELECT b.tenant_id, max(upper(b.period)) AS until FROM bill b
 WHERE b.site_id = %(site_id)s AND b.kind = 'final' AND b.state = 'issued' AND b.snapshot ->> 'utility' = %(utility)s
   AND b.period && daterange(%(first)s, %(after)s)
 GROUP BY b.tenant_id;

-- name: unbilled_cycle_before
-- A tenant that held a space in the cycle before and got no bill for it, at a site that bills this utility by runs.
SELECT 1 FROM lease_space x JOIN lease l ON l.id = x.lease_id AND l.status IN ('active', 'ended')
 WHERE x.tenant_id = %(tenant_id)s AND x.term && daterange(%(before)s, %(first)s)
   AND EXISTS (SELECT 1 FROM bill_run r WHERE r.site_id = %(site_id)s AND r.utility = %(utility)s AND r.state = 'issued'
                  AND r.tenant_id IS NULL)
   AND NOT EXISTS (SELECT 1 FROM bill b WHERE b.tenant_id = x.tenant_id AND b.state IN ('issued', 'credited')
                      AND b.snapshot ->> 'utility' = %(utility)s
                      AND b.period && daterange(%(before)s, %(first)s))
 LIMIT 1;

-- name: finish_run
-- The run is calculated.
UPDATE bill_run SET state = 'calculated', summary = %(summary)s, finished_at = %(at)s, progress_count = %(count)s,
       progress_total = %(count)s, known_at = %(known_at)s, phase = 'done', failure = '' WHERE id = %(run_id)s;

-- name: run_finished
-- When a run had read the ledger.
SELECT finished_at FROM bill_run WHERE id = %(run_id)s;

-- name: transaction_time
-- Facts recorded until now are the ones that this transaction sees.
SELECT transaction_timestamp() AS at;

-- name: set_progress
-- How far a drafted run is; a finished or cancelled one stays as it is.
UPDATE bill_run SET phase = %(phase)s, progress_count = %(count)s, progress_total = %(total)s, failure = %(failure)s
 WHERE id = %(run_id)s AND state = 'draft';

-- name: progress
-- How far a run and its documents are.
SELECT r.id, r.organisation_id, r.state, r.phase, r.failure, r.progress_count, r.progress_total, r.created_at,
       (SELECT count(*) FROM bill b WHERE b.run_id = r.id AND b.kind = 'bill' AND b.number IS NOT NULL)::int AS bills,
       (SELECT count(*) FROM bill b JOIN bill_document d ON d.bill_id = b.id WHERE b.run_id = r.id)::int AS documents
  FROM bill_run r WHERE r.id = %(run_id)s;

-- name: bills_without_document
-- Issued bills of a run whose PDF was not made yet.
SELECT b.* FROM bill b
 WHERE b.run_id = %(run_id)s AND b.kind IN ('bill', 'final') AND b.number IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM bill_document d WHERE d.bill_id = b.id)
 ORDER BY b.id LIMIT %(limit)s;

-- name: add_document_file
-- A finished PDF; made twice it is the same.
INSERT INTO bill_document (bill_id, organisation_id, tenant_id, content, sha256, made_at)
VALUES (%(bill_id)s, %(organisation_id)s, %(tenant_id)s, %(content)s, %(sha256)s, %(at)s) ON CONFLICT DO NOTHING;

-- name: document_file
-- The PDF of a bill.
SELECT content FROM bill_document WHERE bill_id = %(bill_id)s;

-- name: document_files
-- The PDFs of a run.
SELECT b.number, d.content FROM bill b JOIN bill_document d ON d.bill_id = b.id
 WHERE b.run_id = %(run_id)s ORDER BY b.number;

-- name: set_run_state
-- One step of a run.
UPDATE bill_run SET state = %(state)s WHERE id = %(run_id)s;

-- name: set_bill_states
-- The same step for the run's bills.
UPDATE bill SET state = %(state)s
 WHERE run_id = %(run_id)s AND state = ANY(%(from_states)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s);

-- name: add_bills
-- Computed bills of a run.
INSERT INTO bill (organisation_id, tenant_id, site_id, run_id, kind, state, period, currency, net, tax, total, sha256,
                  snapshot)
SELECT %(organisation_id)s, t.tenant_id, %(site_id)s, %(run_id)s, t.kind, t.state, daterange(t.first, t.after),
       %(currency)s, t.net, t.tax, t.total, t.sha256, t.snapshot
  FROM unnest(%(tenant_id)s::bigint[], %(kind)s::text[], %(state)s::text[], %(first)s::date[], %(after)s::date[],
              %(net)s::numeric[], %(tax)s::numeric[], %(total)s::numeric[], %(sha256)s::text[], %(snapshot)s::jsonb[])
       AS t(tenant_id, kind, state, first, after, net, tax, total, sha256, snapshot);

-- name: add_step
-- Who, when, why.
INSERT INTO bill_step (organisation_id, run_id, bill_id, at, actor, from_state, to_state, reason)
VALUES (%(organisation_id)s, %(run_id)s, %(bill_id)s, %(at)s, %(actor)s, %(from_state)s, %(to_state)s, %(reason)s);

-- name: steps
-- The history of a run or a bill.
SELECT at, actor, from_state, to_state, reason FROM bill_step
 WHERE run_id = %(run_id)s OR bill_id = %(bill_id)s ORDER BY id;

-- name: run_bills
-- Bills of a run without their snapshots.
SELECT b.id, b.tenant_id, t.code AS tenant_code, t.name_zh, t.name_en, b.kind, b.state, b.number, b.total, b.currency,
       b.snapshot ->> 'quantity' AS quantity, b.snapshot -> 'issues' AS issues,
       b.snapshot ->> 'estimated_percent' AS estimated_percent, b.sha256
  FROM bill b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.run_id = %(run_id)s AND b.state <> 'cancelled' ORDER BY b.kind, t.code;

-- name: bills_to_number
-- Approved bills of a run, in the order in which they get their numbers.
SELECT b.id FROM bill b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.run_id = %(run_id)s AND b.kind = 'bill' AND b.state = 'approved' ORDER BY t.code, b.id;

-- name: take_numbers
-- The next numbers; the row's lock holds until the bills that bear them are committed, so none is ever lost.
INSERT INTO bill_number (organisation_id, year, series, last)
VALUES (%(organisation_id)s, %(year)s, %(series)s, %(count)s)
    ON CONFLICT (organisation_id, year, series) DO UPDATE SET last = bill_number.last + EXCLUDED.last
RETURNING last;

-- name: issue_bills
-- Number, date and due date, once and for good.
UPDATE bill b SET state = 'issued', number = t.number, issued_at = %(at)s, due_on = %(due_on)s
  FROM unnest(%(bill_id)s::bigint[], %(number)s::text[]) AS t(bill_id, number)
 WHERE b.id = t.bill_id;

-- name: bill_by_id
-- One bill with its snapshot; row-level security hides what is not the viewer's.
SELECT b.*, lower(b.period) AS starts_on, upper(b.period) AS ends_on, t.code AS tenant_code, t.name_zh, t.name_en,
       c.number AS corrects_number, open_amount(b.id, b.total) AS open_amount
  FROM bill b JOIN tenant t ON t.id = b.tenant_id LEFT JOIN bill c ON c.id = b.corrects_bill_id
 WHERE (b.id = %(bill_id)s OR b.number = %(number)s);

-- name: bills_of_tenant
-- A tenant's issued bills, newest first, with what is still open.
SELECT b.id, b.number, b.kind, b.state, lower(b.period) AS starts_on, upper(b.period) AS ends_on, b.currency, b.total,
       b.due_on, b.issued_at, b.snapshot ->> 'utility' AS utility, b.snapshot ->> 'quantity' AS quantity,
       open_amount(b.id, b.total) AS open_amount
  FROM bill b
 WHERE b.tenant_id = %(tenant_id)s AND b.state IN ('issued', 'credited')
 ORDER BY b.issued_at DESC, b.id DESC LIMIT %(limit)s;

-- name: issued_bills
-- Issued bills of an organisation or of one tenant, newest first, with what is still open.
SELECT b.id, b.number, b.kind, b.state, t.code AS tenant_code, lower(b.period) AS starts_on, upper(b.period) AS ends_on,
       b.currency, b.total, b.due_on, b.issued_at, b.snapshot ->> 'utility' AS utility,
       CASE WHEN b.state = 'issued' AND b.kind <> 'credit_note' THEN open_amount(b.id, b.total) ELSE 0 END AS open_amount
  FROM bill b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.organisation_id = %(organisation_id)s AND b.state IN ('issued', 'credited')
   AND (%(tenant_id)s::bigint IS NULL OR b.tenant_id = %(tenant_id)s)
   AND (%(tenant_code)s::text IS NULL OR t.code = %(tenant_code)s)
 ORDER BY b.issued_at DESC, b.id DESC LIMIT %(limit)s;

-- name: registers_of
-- The registers of meters that a period's energy comes from.
SELECT r.meter_id, r.id FROM register r
 WHERE r.meter_id = ANY(%(meter_id)s) AND r.quantity = %(quantity)s AND r.open_period && tstzrange(%(start)s, %(end)s)
 ORDER BY r.meter_id, r.id;

-- name: run_ids_issued
-- Bills of a run, for verification and documents.
SELECT id FROM bill WHERE run_id = %(run_id)s AND state <> 'cancelled' AND kind = 'bill' ORDER BY id;

-- name: open_bills
-- Bills of a tenant that money is still owed on, oldest first; held while a payment is shared out.
SELECT b.id, b.number, b.total, b.due_on, lower(b.period) AS starts_on,
       open_amount(b.id, b.total) AS open_amount
  FROM bill b
 WHERE b.tenant_id = %(tenant_id)s AND b.state = 'issued' AND b.kind IN ('bill', 'rebill', 'final')
   AND open_amount(b.id, b.total) > 0
 ORDER BY b.due_on, b.id
   FOR UPDATE;

-- name: add_payment
-- Money that came in.
INSERT INTO payment (organisation_id, tenant_id, received_on, amount, currency, method, reference, recorded_at, recorded_by)
VALUES (%(organisation_id)s, %(tenant_id)s, %(received_on)s, %(amount)s, %(currency)s, %(method)s, %(reference)s, %(at)s,
        %(actor)s)
RETURNING id;

-- name: allocate
-- Which bills a payment settles.
INSERT INTO payment_allocation (organisation_id, tenant_id, payment_id, bill_id, amount)
SELECT %(organisation_id)s, %(tenant_id)s, %(payment_id)s, t.bill_id, t.amount
  FROM unnest(%(bill_id)s::bigint[], %(amount)s::numeric[]) AS t(bill_id, amount)
ON CONFLICT (payment_id, bill_id) DO UPDATE SET amount = payment_allocation.amount + EXCLUDED.amount;

-- name: release
-- What was paid on a bill beyond what is left of it is free for other bills, of the newest payment first.
WITH paid AS (
    SELECT a.payment_id, a.amount, sum(a.amount) OVER (ORDER BY a.payment_id DESC) - a.amount AS before
      FROM payment_allocation a WHERE a.bill_id = %(bill_id)s
), freed AS (
    SELECT p.payment_id, p.amount, least(p.amount, greatest(-open_amount(b.id, b.total) - p.before, 0)) AS part
      FROM paid p, bill b WHERE b.id = %(bill_id)s
), gone AS (
    DELETE FROM payment_allocation a USING freed f
     WHERE a.bill_id = %(bill_id)s AND a.payment_id = f.payment_id AND f.part = f.amount
)
UPDATE payment_allocation a SET amount = a.amount - f.part
  FROM freed f
 WHERE a.bill_id = %(bill_id)s AND a.payment_id = f.payment_id AND f.part > 0 AND f.part < f.amount;

-- name: free_payments
-- Payments of a tenant with money that settles no bill yet, oldest first.
SELECT p.id, p.amount - coalesce((SELECT sum(a.amount) FROM payment_allocation a WHERE a.payment_id = p.id), 0) AS free
  FROM payment p
 WHERE p.tenant_id = %(tenant_id)s
   AND p.amount > coalesce((SELECT sum(a.amount) FROM payment_allocation a WHERE a.payment_id = p.id), 0)
 ORDER BY p.received_on, p.id FOR UPDATE;

-- name: statement
-- Every bill, credit note and payment of a tenant by local day; of one day what is owed stands before what pays it.
SELECT * FROM (
    SELECT (b.issued_at AT TIME ZONE s.time_zone)::date AS on_day, b.kind AS what, b.number AS reference, b.total AS amount,
           b.due_on, b.id AS bill_id
      FROM bill b JOIN site s ON s.id = b.site_id WHERE b.tenant_id = %(tenant_id)s AND b.state IN ('issued', 'credited')
    UNION ALL
    SELECT p.received_on, 'payment', p.reference, -p.amount, NULL, NULL FROM payment p WHERE p.tenant_id = %(tenant_id)s) e
 ORDER BY on_day, amount < 0, what = 'payment', bill_id, reference;

-- name: arrears
-- Bills past their due date, by tenant.
SELECT b.id, b.number, b.due_on, b.total, b.currency, b.site_id, t.id AS tenant_id, t.code, t.name_zh, t.name_en,
       open_amount(b.id, b.total) AS open_amount
  FROM bill b JOIN tenant t ON t.id = b.tenant_id
 WHERE b.organisation_id = %(organisation_id)s AND b.state = 'issued' AND b.due_on < %(today)s
   AND b.kind IN ('bill', 'rebill', 'final')
   AND open_amount(b.id, b.total) > 0
 ORDER BY t.code, b.due_on;

-- name: add_entry
-- A movement of a deposit or prepaid account.
INSERT INTO account_entry (organisation_id, tenant_id, account, on_day, amount, kind, reference, recorded_at, recorded_by)
VALUES (%(organisation_id)s, %(tenant_id)s, %(account)s, %(on_day)s, %(amount)s, %(kind)s, %(reference)s, %(at)s, %(actor)s)
    ON CONFLICT (tenant_id, on_day) WHERE kind = 'burn' DO NOTHING
RETURNING id;

-- name: balance
-- The balance of an account is the sum of its entries.
SELECT coalesce(sum(amount), 0) AS balance FROM account_entry
 WHERE tenant_id = %(tenant_id)s AND account = %(account)s;

-- name: entries
-- The movements of a tenant's accounts, newest first.
SELECT account, on_day, amount, kind, reference FROM account_entry
 WHERE tenant_id = %(tenant_id)s ORDER BY id DESC LIMIT %(limit)s;

-- name: tax_parties
-- Tax data of a bill's buyer, and the seller's number: the landlord's own account bears it.
SELECT t.attributes, (SELECT o.credit_code FROM tenant o WHERE o.id = %(owner_id)s) AS seller_tax_no
  FROM tenant t WHERE t.id = %(tenant_id)s;

-- name: tenant_by_code
-- A tenant of an organisation.
SELECT id, code, name_zh, name_en FROM tenant WHERE organisation_id = %(organisation_id)s AND code = %(code)s;

-- name: add_document
-- A credit note or a corrected bill: a new record beside the issued one.
INSERT INTO bill (organisation_id, tenant_id, site_id, run_id, kind, corrects_bill_id, state, number, period, currency, net,
                  tax, total, issued_at, due_on, sha256, snapshot)
SELECT b.organisation_id, b.tenant_id, b.site_id, NULL, %(kind)s, b.id, 'issued', %(number)s, b.period, b.currency, %(net)s,
       %(tax)s, %(total)s, %(at)s, %(due_on)s, %(sha256)s, %(snapshot)s
  FROM bill b WHERE b.id = %(bill_id)s
RETURNING id;

-- name: credit_notes
-- What was taken back of a bill so far, oldest first.
SELECT id, number, net, tax, total, issued_at, snapshot FROM bill
 WHERE corrects_bill_id = %(bill_id)s AND kind = 'credit_note' ORDER BY id;

-- name: lock_bill
-- One bill, held until the transaction ends: two people do not credit the same line.
SELECT id FROM bill WHERE id = %(bill_id)s FOR UPDATE;

-- name: mark_credited
-- The issued bill is taken back by a credit note; nothing else of it changes.
UPDATE bill SET state = 'credited' WHERE id = %(bill_id)s AND state = 'issued';

-- name: changed_bills
-- Issued bills whose readings changed since their run read them (it may have waited for its issue), and that no proposal
-- covers yet; with what this statement sees.
SELECT DISTINCT b.id, pg_current_snapshot()::text AS known_snapshot, pg_current_xact_id()::text AS known_transaction
  FROM bill b
  JOIN bill_run r ON r.id = b.run_id
  JOIN ledger_change c ON (c.changed_at > b.issued_at
                           OR NOT is_known(c.transaction_id, r.known_snapshot, r.known_transaction))
                      AND c.starts_at < upper(r.period)::timestamptz + interval '1 day'
                      AND c.ends_at > lower(r.period)::timestamptz - interval '1 day'
  JOIN register g ON g.id = c.register_id
  JOIN meter m ON m.id = g.meter_id
 WHERE b.state = 'issued' AND b.kind IN ('bill', 'final')
   AND b.snapshot -> 'evidence' @> jsonb_build_array(jsonb_build_object('meter', m.code))
   AND NOT EXISTS (SELECT 1 FROM bill_adjustment a
                    WHERE a.bill_id = b.id AND a.proposed_at >= c.changed_at
                      AND is_known(c.transaction_id, a.known_snapshot, a.known_transaction) IS NOT false)
 LIMIT %(limit)s;

-- name: bills_of_meters
-- Bills that were made from these meters' readings in these stretches: what a correction there would touch, and which
-- of the stretches (from 0) each was made from.
SELECT b.id, b.number, b.state, lower(b.period) AS starts_on, upper(b.period) AS ends_on, t.code AS tenant_code,
       t.name_zh, t.name_en, array_agg(DISTINCT x.n - 1) AS places
  FROM unnest(%(code)s::text[], %(first)s::timestamptz[], %(last)s::timestamptz[]) WITH ORDINALITY
       AS x(code, first, last, n)
  JOIN bill b ON b.snapshot -> 'evidence' @> jsonb_build_array(jsonb_build_object('meter', x.code))
             AND lower(b.period)::timestamptz - interval '14 hours' < x.last
             AND upper(b.period)::timestamptz + interval '14 hours' > x.first
  LEFT JOIN tenant t ON t.id = b.tenant_id
 WHERE b.organisation_id = %(organisation_id)s AND b.state <> 'cancelled' AND b.kind = 'bill'
 GROUP BY b.id, t.id
 ORDER BY b.id DESC
 LIMIT %(limit)s;

-- name: issued_before
-- The day after the last one that an issued bill of a meter's site and utility covers: every meter of a site has a part in
-- its bills, the main meter by the losses.
SELECT max(upper(b.period)) AS day
  FROM meter m
  JOIN bill b ON b.site_id = m.site_id AND b.snapshot ->> 'utility' = m.utility AND b.state IN ('issued', 'credited')
 WHERE m.id = %(meter_id)s;

-- name: add_adjustment
-- What corrected data would change; a newer proposal replaces an open one.
INSERT INTO bill_adjustment (organisation_id, tenant_id, bill_id, state, difference, content, proposed_at, known_snapshot,
                             known_transaction)
VALUES (%(organisation_id)s, %(tenant_id)s, %(bill_id)s, 'proposed', %(difference)s, %(content)s, %(at)s,
        %(known_snapshot)s::pg_snapshot, %(known_transaction)s::xid8)
    ON CONFLICT (bill_id) WHERE state = 'proposed' DO UPDATE SET difference = EXCLUDED.difference,
        content = EXCLUDED.content, proposed_at = EXCLUDED.proposed_at, known_snapshot = EXCLUDED.known_snapshot,
        known_transaction = EXCLUDED.known_transaction
RETURNING id;

-- name: void_adjustment
-- The bill would be the same again: an open proposal falls, and these changes are not looked at once more.
WITH fallen AS (
    UPDATE bill_adjustment SET state = 'void', decided_at = %(at)s WHERE bill_id = %(bill_id)s AND state = 'proposed')
INSERT INTO bill_adjustment (organisation_id, tenant_id, bill_id, state, difference, content, proposed_at, decided_at,
                             known_snapshot, known_transaction)
VALUES (%(organisation_id)s, %(tenant_id)s, %(bill_id)s, 'void', 0, '{}', %(at)s, %(at)s, %(known_snapshot)s::pg_snapshot,
        %(known_transaction)s::xid8);

-- name: adjustments
-- Proposals that wait for a decision.
SELECT a.id, a.bill_id, b.number, a.difference, a.content, a.proposed_at, t.code, t.name_zh, t.name_en, b.currency
  FROM bill_adjustment a JOIN bill b ON b.id = a.bill_id JOIN tenant t ON t.id = a.tenant_id
 WHERE a.organisation_id = %(organisation_id)s AND a.state = 'proposed' ORDER BY a.id;

-- name: decide_adjustment
-- Accepted or rejected, once.
UPDATE bill_adjustment SET state = %(state)s, decided_at = %(at)s, decided_by = %(actor)s, reason = %(reason)s
 WHERE id = %(id)s AND state = 'proposed' RETURNING bill_id;

-- name: add_dispute
-- A tenant questions a line of its own bill.
INSERT INTO bill_dispute (organisation_id, tenant_id, bill_id, line, question, asked_at, asked_by)
VALUES (%(organisation_id)s, %(tenant_id)s, %(bill_id)s, %(line)s, %(question)s, %(at)s, %(actor)s) RETURNING id;

-- name: disputes_of_bill
-- Questions about a bill and their answers.
SELECT id, line, question, asked_at, asked_by, answer, answered_at FROM bill_dispute
 WHERE bill_id = %(bill_id)s ORDER BY id;

-- name: open_disputes
-- Questions that wait for an answer.
SELECT d.id, d.bill_id, d.line, d.question, d.asked_at, b.number, t.name_zh, t.name_en
  FROM bill_dispute d JOIN bill b ON b.id = d.bill_id JOIN tenant t ON t.id = d.tenant_id
 WHERE d.organisation_id = %(organisation_id)s AND d.answered_at IS NULL ORDER BY d.id LIMIT 200;

-- name: answer_dispute
-- One answer.
UPDATE bill_dispute SET answer = %(answer)s, answered_at = %(at)s, answered_by = %(actor)s
 WHERE id = %(id)s AND answered_at IS NULL RETURNING bill_id;

-- name: after_hours_bookings
-- Approved air conditioning after hours that begins in the period; the zone is the air equipment that serves the space.
SELECT r.tenant_id, coalesce((SELECT min(e.code) FROM equipment_serves v JOIN equipment e ON e.id = v.equipment_id
                               WHERE v.space_id = r.space_id
                                 AND e.brick_class ~ '(AHU|Air_Hand|Rooftop|VRF_System)'),
                             'space ' || r.space_id) AS zone,
       lower(r.period) AS starts_at, upper(r.period) AS ends_at
  FROM hvac_request r
  JOIN space s ON s.id = r.space_id JOIN floor f ON f.id = s.floor_id
  JOIN building b ON b.id = f.building_id AND b.site_id = %(site_id)s
 WHERE r.state = 'approved' AND lower(r.period) >= %(start)s::timestamptz AND lower(r.period) < %(end)s::timestamptz
 ORDER BY r.tenant_id, lower(r.period), r.id;

-- name: site_tariff_as_known
-- The tariff that a site's tenants pay for something, in the newest revision known at an instant.
SELECT t.code, t.revision, t.content FROM site_tariff x
  JOIN tariff t ON t.organisation_id = x.organisation_id AND t.code = x.tariff_code
 WHERE x.site_id = %(site_id)s AND x.utility = %(of)s AND x.payer = 'tenants'
 ORDER BY t.recorded_at <= %(known_at)s::timestamptz DESC, t.revision DESC LIMIT 1;
