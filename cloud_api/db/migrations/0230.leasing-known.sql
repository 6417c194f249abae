-- People and air-conditioning hours of a lease: what was known when, as for its spaces.
-- depends: 0211.billing-walls

ALTER TABLE app.head_count ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE app.hvac_hours ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE app.fact_history DROP CONSTRAINT fact_history_fact_check;
ALTER TABLE app.fact_history ADD CONSTRAINT fact_history_fact_check
    CHECK (fact IN ('lease', 'lease_space', 'meter_space', 'head_count', 'hvac_hours'));
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.head_count FOR EACH ROW EXECUTE FUNCTION app.keep_fact();
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.hvac_hours FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

CREATE FUNCTION app.head_count_as_known(instant timestamptz) RETURNS SETOF app.head_count
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM head_count WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::head_count, h.content) r
     WHERE h.fact = 'head_count' AND h.known @> instant
$$;
