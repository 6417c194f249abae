-- name: issued_bills
-- Issued bills (of a run, or one) with where and in which language their tenant reads.
SELECT b.id, b.organisation_id, b.tenant_id, b.number, b.kind, b.total, b.currency, b.due_on, lower(b.period) AS starts_on,
       upper(b.period) AS ends_on,
       upper(b.period) - 1 AS last_day, t.name_zh, t.name_en, t.attributes ->> 'contact_email' AS email,
       coalesce(t.attributes ->> 'language', 'zh') AS language, o.name_zh AS issuer_zh, o.name_en AS issuer_en
  FROM bill b JOIN tenant t ON t.id = b.tenant_id JOIN organisation o ON o.id = b.organisation_id
 WHERE (b.run_id = %(run_id)s OR b.id = %(bill_id)s) AND b.number IS NOT NULL AND b.kind <> 'owner'
 ORDER BY b.id;
