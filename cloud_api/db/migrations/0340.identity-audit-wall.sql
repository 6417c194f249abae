-- Who did what is read by the organisation's staff alone. A tenant's people add to it, for their organisation only, and
-- read nothing; an entry of no organisation is the system's.
-- depends: 0001.core

ALTER TABLE app.audit_entry ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_organisation ON app.audit_entry USING ((SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND organisation_id = (SELECT app.viewer_organisation())));
CREATE POLICY added_by_tenants ON app.audit_entry FOR INSERT WITH CHECK (
    (SELECT app.viewer_kind()) = 'tenant' AND organisation_id = (SELECT app.viewer_organisation()));
