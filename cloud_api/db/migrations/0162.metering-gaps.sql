-- Silences of registers that a point feeds: stretches without a usable reading that are longer than the meter allows. The
-- ledger keeps them with its intervals, from the same readings, so late data close them; one that lasts has no row.
-- depends: 0161.metering-changes-known

CREATE TABLE app.register_gap (
    register_id bigint NOT NULL REFERENCES app.register,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    silent_from timestamptz NOT NULL,
    silent_to timestamptz NOT NULL CHECK (silent_to > silent_from),
    found_at timestamptz NOT NULL,
    PRIMARY KEY (register_id, silent_from)
);
CREATE INDEX register_gap_end ON app.register_gap (organisation_id, silent_to);
SELECT app.protect_by_organisation('app.register_gap');

INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
SELECT id, '-infinity', 'infinity' FROM app.register WHERE point_id IS NOT NULL AND NOT isempty(open_period);
