-- Runs and utility bills of any period: overlaps are refused, and a replaced utility bill is still known to its run.
-- depends: 0240.billing-part-credits 0251.leasing-access

-- Days are billed once: runs of one site and utility do not overlap, whatever their cycle.
DROP INDEX app.one_living_run;
ALTER TABLE app.bill_run ADD CONSTRAINT days_billed_once
    EXCLUDE USING gist (int8range(site_id, site_id, '[]') WITH &&,
        int8range(hashtext(utility), hashtext(utility), '[]') WITH &&, period WITH &&)
    WHERE (state <> 'cancelled' AND tenant_id IS NULL);

-- The trigger writes the name of its table; a list of the same names beside it holds no rule.
ALTER TABLE app.fact_history DROP CONSTRAINT fact_history_fact_check;
ALTER TABLE app.utility_bill ALTER COLUMN recorded_at SET DEFAULT now();
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.utility_bill FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

CREATE FUNCTION app.utility_bill_as_known(instant timestamptz) RETURNS SETOF app.utility_bill
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM utility_bill WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::utility_bill, h.content) r
     WHERE h.fact = 'utility_bill' AND h.known @> instant
$$;
