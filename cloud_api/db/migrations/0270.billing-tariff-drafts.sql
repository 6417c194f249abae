-- Tariffs that somebody is entering field by field: nothing is priced by them until they are put in force.
-- depends: 0240.billing-part-credits

CREATE TABLE app.tariff_draft (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    -- The form as it was sent: texts and rows, sound or not (billing/tariff_form.py).
    content jsonb NOT NULL,
    saved_at timestamptz NOT NULL,
    saved_by text NOT NULL
);
CREATE INDEX tariff_draft_organisation ON app.tariff_draft (organisation_id);
SELECT app.protect_by_organisation('app.tariff_draft');
