-- Part of a bill can be taken back: the bill stays issued, and its credit notes lower what is open on it.
-- depends: 0232.billing-final

CREATE INDEX bill_corrects ON app.bill (corrects_bill_id) WHERE corrects_bill_id IS NOT NULL;

-- What is still owed on an issued bill: its total, less its credit notes, less what payments settled.
CREATE FUNCTION app.open_amount(bill_id bigint, total numeric) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT $2 + coalesce((SELECT sum(c.total) FROM app.bill c WHERE c.corrects_bill_id = $1 AND c.kind = 'credit_note'), 0)
              - coalesce((SELECT sum(a.amount) FROM app.payment_allocation a WHERE a.bill_id = $1), 0)
$$;
