-- Doors that a lease opens, by period, and cards of a tenant's people, as the keyed hashes that doors send.
-- depends: 0250.estate-areas

CREATE TABLE app.access_entitlement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    equipment_id bigint NOT NULL REFERENCES app.equipment,
    valid daterange NOT NULL CHECK (NOT isempty(valid)),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_entitlement_per_lease_door_and_day EXCLUDE USING gist (
        int8range(lease_id, lease_id, '[]') WITH &&, int8range(equipment_id, equipment_id, '[]') WITH &&, valid WITH &&)
);
SELECT app.protect_by_tenant('app.access_entitlement');
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.access_entitlement
    FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

-- Leases that run already open the doors of their spaces.
INSERT INTO app.access_entitlement (organisation_id, tenant_id, lease_id, equipment_id, valid)
SELECT l.organisation_id, l.tenant_id, l.id, e.id, unnest(range_agg(x.term))
  FROM app.lease l
  JOIN app.lease_space x ON x.lease_id = l.id
  JOIN app.equipment_serves v ON v.space_id = x.space_id
  JOIN app.equipment e ON e.id = v.equipment_id AND e.brick_class LIKE 'Access%'
 WHERE l.status IN ('active', 'ended')
 GROUP BY l.id, e.id;

-- Whose card a keyed hash is; nobody is named. One card belongs to one tenant at a time.
CREATE TABLE app.access_card (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    credential text NOT NULL CHECK (credential <> ''),
    valid daterange NOT NULL CHECK (NOT isempty(valid)),
    recorded_at timestamptz NOT NULL,
    recorded_by text NOT NULL,
    CONSTRAINT one_tenant_per_card_and_day EXCLUDE USING gist (
        int8range(organisation_id, organisation_id, '[]') WITH &&,
        int8range(hashtextextended(credential, 0), hashtextextended(credential, 0), '[]') WITH &&,
        valid WITH &&)
);
ALTER TABLE app.access_card ENABLE ROW LEVEL SECURITY;
CREATE POLICY not_for_tenants ON app.access_card USING ((SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND organisation_id = (SELECT app.viewer_organisation())));
CREATE INDEX access_card_credential ON app.access_card (organisation_id, credential);
