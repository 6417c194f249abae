-- Exchanges that can be undone, with their photographs; the counter's range, causes of dated factors; ratio meters;
-- limits of the checks by meter class; which finding an edit belongs to.
-- depends: 0120.metering-packed-days

CREATE TABLE app.meter_exchange (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    register_id bigint NOT NULL REFERENCES app.register,
    successor_id bigint NOT NULL UNIQUE REFERENCES app.register,
    at timestamptz NOT NULL,
    closing numeric NOT NULL,
    opening numeric NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE INDEX meter_exchange_register ON app.meter_exchange (register_id);
SELECT app.protect_by_organisation('app.meter_exchange');

-- What the displays showed when the meter was exchanged: the evidence of both readings.
CREATE TABLE app.meter_photo (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    exchange_id bigint NOT NULL REFERENCES app.meter_exchange,
    side text NOT NULL CHECK (side IN ('old', 'new')),
    media_type text NOT NULL CHECK (media_type IN ('image/jpeg', 'image/png', 'image/webp')),
    content bytea NOT NULL CHECK (length(content) BETWEEN 1 AND 5000000),
    actor text NOT NULL,
    added_at timestamptz NOT NULL
);
CREATE INDEX meter_photo_exchange ON app.meter_photo (exchange_id);
SELECT app.protect_by_organisation('app.meter_photo');

-- The value at which a counter starts again at zero, as people set it; `previous` is what an undo restores.
CREATE TABLE app.register_modulus (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    modulus numeric CHECK (modulus > 0),
    previous numeric,
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE INDEX register_modulus_register ON app.register_modulus (register_id);

-- Why a factor holds from an instant on: another transformer, one that is reversed, another unit, a wrong wiring.
ALTER TABLE app.register_multiplier ADD COLUMN cause text NOT NULL DEFAULT 'ratio'
    CHECK (cause IN ('ratio', 'reversed', 'unit', 'wiring'));

ALTER TABLE app.interval_edit ADD COLUMN finding_id bigint REFERENCES app.vee_finding;
CREATE INDEX interval_edit_finding ON app.interval_edit (finding_id) WHERE finding_id IS NOT NULL;

-- A computed meter that is a ratio of two others (a plant's efficiency, a share): it has no energy of its own.
CREATE TABLE app.meter_ratio (
    meter_id bigint PRIMARY KEY REFERENCES app.meter ON DELETE CASCADE,
    numerator_id bigint NOT NULL REFERENCES app.meter,
    denominator_id bigint NOT NULL REFERENCES app.meter,
    CHECK (meter_id <> numerator_id AND meter_id <> denominator_id)
);

-- Limits of the checks that an organisation set for a class of meters; where none is set, the built-in ones hold.
CREATE TABLE app.vee_limit (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    use text NOT NULL,
    limits jsonb NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (organisation_id, use)
);
SELECT app.protect_by_organisation('app.vee_limit');
