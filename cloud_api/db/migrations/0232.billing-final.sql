-- A run of one tenant: the final bill at a move-out. It stands beside the month's run.
-- depends: 0220.billing-progress 0231.leasing-upload

ALTER TABLE app.bill_run ADD COLUMN tenant_id bigint REFERENCES app.tenant;
DROP INDEX app.one_living_run;
CREATE UNIQUE INDEX one_living_run ON app.bill_run (site_id, utility, period)
    WHERE state <> 'cancelled' AND tenant_id IS NULL;
CREATE UNIQUE INDEX one_living_final ON app.bill_run (site_id, utility, tenant_id, upper(period))
    WHERE state <> 'cancelled' AND tenant_id IS NOT NULL;
