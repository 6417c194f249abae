import httpx
import pytest

from cloud_api.main import create_app
from cloud_api.settings import Settings


@pytest.fixture
async def client(database):
    settings = Settings(database_url=database.app)
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client,
    ):
        yield client


async def test_the_process_says_that_it_is_ready_when_the_database_answers(client):
    answer = await client.get("/readyz")
    assert answer.json() == {"status": "ok"}


async def test_an_unknown_path_answers_problem_json(client):
    answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
