-- name: set_terms
-- A tenant pays ahead, and is warned below a balance.
INSERT INTO prepaid_terms (tenant_id, organisation_id, low_balance, changed_at, changed_by)
SELECT id, organisation_id, %(low_balance)s, %(at)s, %(actor)s FROM tenant WHERE id = %(tenant_id)s
    ON CONFLICT (tenant_id) DO UPDATE SET low_balance = EXCLUDED.low_balance, changed_at = EXCLUDED.changed_at,
        changed_by = EXCLUDED.changed_by, warned_on = NULL;

-- name: accounts
-- Tenants who pay ahead, with their balance, where they read, and the site's clock.
SELECT p.tenant_id, p.organisation_id, p.low_balance, p.warned_on, t.name_zh, t.name_en,
       t.attributes ->> 'contact_email' AS email, coalesce(t.attributes ->> 'language', 'zh') AS language,
       (SELECT coalesce(sum(e.amount), 0) FROM account_entry e WHERE e.tenant_id = p.tenant_id AND e.account = 'prepaid') AS balance,
       s.time_zone, s.currency
  FROM prepaid_terms p JOIN tenant t ON t.id = p.tenant_id
  JOIN LATERAL (SELECT time_zone, currency FROM site WHERE organisation_id = p.organisation_id ORDER BY id LIMIT 1) s ON true
 WHERE (%(tenant_id)s::bigint IS NULL OR p.tenant_id = %(tenant_id)s)
 ORDER BY p.tenant_id;

-- name: burned
-- What was burned from a day on, as an amount above zero, less what bills trued up.
SELECT coalesce(-sum(amount), 0) AS burned FROM account_entry
 WHERE tenant_id = %(tenant_id)s AND account = 'prepaid' AND kind = 'burn' AND on_day >= %(first)s AND on_day < %(after)s;

-- name: recent_burn
-- The burn of the last days.
SELECT on_day, -amount AS amount FROM account_entry
 WHERE tenant_id = %(tenant_id)s AND account = 'prepaid' AND kind = 'burn' AND on_day >= %(first)s ORDER BY on_day;

-- name: trued_up
-- Whether a month's burn was exchanged for its bill already.
SELECT 1 FROM account_entry WHERE tenant_id = %(tenant_id)s AND kind = 'true_up' AND reference = %(reference)s LIMIT 1;

-- name: note_warning
-- A warning goes out once per fall below the limit.
UPDATE prepaid_terms SET warned_on = %(on_day)s WHERE tenant_id = %(tenant_id)s;

-- name: prepaid_bills
-- Issued bills of a run (or one) whose tenants pay ahead, with what is open.
SELECT b.id, b.number, b.organisation_id, b.tenant_id, b.currency, b.kind, lower(b.period) AS first, upper(b.period) AS after,
       open_amount(b.id, b.total) AS open_amount
  FROM bill b JOIN prepaid_terms p ON p.tenant_id = b.tenant_id
 WHERE (b.run_id = %(run_id)s OR b.id = %(bill_id)s) AND b.state = 'issued' AND b.kind IN ('bill', 'final', 'rebill')
 ORDER BY b.id;
