-- Tariffs, runs, bills and what corrects or settles them.
-- depends: 0200.leasing-estate

CREATE TABLE app.holiday_calendar (
    region text NOT NULL,
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('holiday', 'makeup_workday')),
    name text NOT NULL,
    official_doc text NOT NULL DEFAULT '',
    PRIMARY KEY (region, day)
);
-- The years that the authority has published; a bill of another year may be computed and not issued.
CREATE TABLE app.holiday_year (
    region text NOT NULL,
    year integer NOT NULL,
    official_doc text NOT NULL DEFAULT '',
    PRIMARY KEY (region, year)
);

-- A tariff as it was recorded; a change is a new revision, so that a bill names exactly what it was rated with.
CREATE TABLE app.tariff (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    code text NOT NULL,
    revision integer NOT NULL,
    sha256 text NOT NULL,
    content jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL,
    UNIQUE (organisation_id, code, revision)
);
SELECT app.protect_by_organisation('app.tariff');
REVOKE UPDATE, DELETE ON app.tariff FROM wattlease_app;

-- Which tariff tenants of a site pay for a utility; the landlord's own purchase may follow another one.
CREATE TABLE app.site_tariff (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    utility text NOT NULL,
    payer text NOT NULL CHECK (payer IN ('tenants', 'landlord')),
    tariff_code text NOT NULL,
    PRIMARY KEY (site_id, utility, payer)
);
SELECT app.protect_by_organisation('app.site_tariff');

-- Named parameters of a site; the newest row holds, and a bill keeps the ones it was made with.
CREATE TABLE app.billing_policy (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    content jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL
);
SELECT app.protect_by_organisation('app.billing_policy');

-- The utility's bill for the main meter, as entered or imported.
CREATE TABLE app.utility_bill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    utility text NOT NULL,
    period daterange NOT NULL,
    content jsonb NOT NULL,
    total numeric NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL,
    EXCLUDE USING gist (int8range(site_id, site_id, '[]') WITH &&,
        int8range(hashtext(utility), hashtext(utility), '[]') WITH &&, period WITH &&)
);
SELECT app.protect_by_organisation('app.utility_bill');

CREATE TABLE app.bill_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    utility text NOT NULL,
    period daterange NOT NULL,
    state text NOT NULL CHECK (state IN ('draft', 'calculated', 'reviewed', 'approved', 'issued', 'cancelled')),
    prepared_by text NOT NULL,
    created_at timestamptz NOT NULL,
    known_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    progress_count integer NOT NULL DEFAULT 0,
    progress_total integer NOT NULL DEFAULT 0,
    summary jsonb NOT NULL DEFAULT '{}'
);
SELECT app.protect_by_organisation('app.bill_run');
CREATE UNIQUE INDEX one_living_run ON app.bill_run (site_id, utility, period) WHERE state <> 'cancelled';

CREATE TABLE app.bill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    site_id bigint NOT NULL REFERENCES app.site,
    run_id bigint REFERENCES app.bill_run,
    kind text NOT NULL CHECK (kind IN ('bill', 'credit_note', 'rebill', 'final', 'owner')),
    corrects_bill_id bigint REFERENCES app.bill,
    state text NOT NULL CHECK (state IN ('draft', 'calculated', 'exception', 'reviewed', 'approved', 'issued', 'credited',
                                         'cancelled')),
    number text UNIQUE,
    period daterange NOT NULL,
    currency char(3) NOT NULL,
    net numeric NOT NULL,
    tax numeric NOT NULL,
    total numeric NOT NULL,
    issued_at timestamptz,
    due_on date,
    sha256 text NOT NULL,
    snapshot jsonb NOT NULL,
    CHECK ((number IS NULL) = (state NOT IN ('issued', 'credited')))
);
ALTER TABLE app.bill ENABLE ROW LEVEL SECURITY;
-- A tenant sees its own bills, and only what was issued to it.
CREATE POLICY by_tenant ON app.bill USING ((SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND organisation_id = (SELECT app.viewer_organisation()))
    OR ((SELECT app.viewer_kind()) = 'tenant' AND organisation_id = (SELECT app.viewer_organisation())
        AND tenant_id = (SELECT app.viewer_tenant()) AND state IN ('issued', 'credited')));
CREATE UNIQUE INDEX one_living_bill ON app.bill (run_id, tenant_id) WHERE kind = 'bill' AND state <> 'cancelled';
CREATE INDEX bill_tenant ON app.bill (tenant_id, period);

-- What was issued does not change: only its state may, and only forward.
CREATE FUNCTION app.keep_issued_bill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('issued', 'credited') THEN
        IF TG_OP = 'DELETE' OR NOT (OLD.state = 'issued' AND NEW.state IN ('issued', 'credited'))
           OR (to_jsonb(NEW) - 'state') <> (to_jsonb(OLD) - 'state') THEN
            RAISE EXCEPTION 'bill % was issued and cannot be changed; correct it by a credit note', OLD.number
                USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_issued BEFORE UPDATE OR DELETE ON app.bill FOR EACH ROW EXECUTE FUNCTION app.keep_issued_bill();

-- Every step of a run or bill: who, when, why. Append-only.
CREATE TABLE app.bill_step (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    run_id bigint REFERENCES app.bill_run,
    bill_id bigint REFERENCES app.bill,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
SELECT app.protect_by_organisation('app.bill_step');
REVOKE UPDATE, DELETE ON app.bill_step FROM wattlease_app;

-- The last number given per issuer, year and kind of document; the row's lock makes numbers gap-free.
CREATE TABLE app.bill_number (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    year integer NOT NULL,
    series text NOT NULL,
    last integer NOT NULL,
    PRIMARY KEY (organisation_id, year, series)
);
SELECT app.protect_by_organisation('app.bill_number');

-- Money that came in, and which bills it settles.
CREATE TABLE app.payment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    received_on date NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    currency char(3) NOT NULL,
    method text NOT NULL,
    reference text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL
);
SELECT app.protect_by_tenant('app.payment');
CREATE UNIQUE INDEX payment_reference ON app.payment (organisation_id, method, reference) WHERE reference <> '';
CREATE TABLE app.payment_allocation (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    payment_id bigint NOT NULL REFERENCES app.payment,
    bill_id bigint NOT NULL REFERENCES app.bill,
    amount numeric NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (payment_id, bill_id)
);
SELECT app.protect_by_tenant('app.payment_allocation');

-- Deposits and prepaid balances: entries that are never changed; the balance is their sum.
CREATE TABLE app.account_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    account text NOT NULL CHECK (account IN ('deposit', 'prepaid')),
    on_day date NOT NULL,
    amount numeric NOT NULL,
    kind text NOT NULL CHECK (kind IN ('paid_in', 'paid_out', 'burn', 'true_up', 'settled')),
    reference text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL
);
SELECT app.protect_by_tenant('app.account_entry');
CREATE UNIQUE INDEX one_burn_a_day ON app.account_entry (tenant_id, on_day) WHERE kind = 'burn';
REVOKE UPDATE, DELETE ON app.account_entry FROM wattlease_app;

-- A line that a tenant questions; finance answers on the same evidence.
CREATE TABLE app.bill_dispute (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    bill_id bigint NOT NULL REFERENCES app.bill,
    line integer NOT NULL,
    question text NOT NULL,
    asked_at timestamptz NOT NULL,
    asked_by text NOT NULL,
    answer text,
    answered_at timestamptz,
    answered_by text
);
SELECT app.protect_by_tenant('app.bill_dispute');

-- What late or corrected data would change on an issued bill.
CREATE TABLE app.bill_adjustment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    bill_id bigint NOT NULL REFERENCES app.bill,
    state text NOT NULL CHECK (state IN ('proposed', 'accepted', 'rejected')),
    difference numeric NOT NULL,
    content jsonb NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text,
    reason text NOT NULL DEFAULT ''
);
SELECT app.protect_by_organisation('app.bill_adjustment');
CREATE UNIQUE INDEX one_open_adjustment ON app.bill_adjustment (bill_id) WHERE state = 'proposed';
