-- What is normal for one unit, fitted on days in good order: levels with bands, and baselines in changing conditions.

CREATE TABLE app.fault_model (
    equipment_id bigint PRIMARY KEY REFERENCES app.equipment ON DELETE CASCADE,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    content jsonb NOT NULL,
    healthy_days date[] NOT NULL,
    fitted_by text NOT NULL,
    fitted_at timestamptz NOT NULL
);
SELECT app.protect_by_organisation('app.fault_model');
