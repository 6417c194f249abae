-- The live evaluation of fault rules: what each equipment's evaluator remembers, and what people set.

CREATE TABLE app.fault_evaluator (
    equipment_id bigint PRIMARY KEY REFERENCES app.equipment ON DELETE CASCADE,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    -- Every tick up to here is judged; the memory below is what the next tick needs.
    evaluated_through timestamptz NOT NULL,
    bindings text NOT NULL,
    memory text NOT NULL,
    verdicts jsonb NOT NULL DEFAULT '{}',
    missing jsonb NOT NULL DEFAULT '{}'
);
SELECT app.protect_by_organisation('app.fault_evaluator');

-- What an engineer set for one rule on one equipment: switched off, or with other parameters.
CREATE TABLE app.fault_rule_setting (
    equipment_id bigint NOT NULL REFERENCES app.equipment ON DELETE CASCADE,
    rule text NOT NULL,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    is_enabled boolean NOT NULL DEFAULT true,
    params jsonb NOT NULL DEFAULT '{}',
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (equipment_id, rule)
);
SELECT app.protect_by_organisation('app.fault_rule_setting');
