"""The job queue's own tables and functions, as procrastinate ships them for the locked version."""

from procrastinate.schema import SchemaManager
from yoyo import step

__depends__ = {"0001.core"}

_GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO wattlease_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO wattlease_app;
"""

# Under autocommit the whole script is sent as one statement list; yoyo's transaction holds it together.
step(lambda connection: connection.execute(SchemaManager.get_schema() + _GRANTS))
