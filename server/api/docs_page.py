"""The page where people read and try the API; everything it needs comes from this server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, redirect
from flask.typing import ResponseReturnValue

from server.api.route import Access, Answer, Route

ASSETS = "/apidocs/assets"
# Swagger UI gives the audio element of a POST's answer the request's address, which it cannot
# play. This hands it the answer itself.
PLAY_AUDIO = r"""{plugins: [SwaggerUIBundle.plugins.DownloadUrl, function () {
  return {wrapComponents: {responseBody: function (Original, system) {
    return function (props) {
      if (/^audio\//i.test(props.contentType || "") && props.content instanceof Blob) {
        props = Object.assign({}, props, {url: URL.createObjectURL(props.content)});
      }
      return system.React.createElement(Original, props);
    };
  }}};
}]}"""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'"
)


def docs_routes() -> list[Route]:
    """Short addresses of the page; the document leaves them out."""

    def lead() -> ResponseReturnValue:
        return redirect("/apidocs/")

    there = (Answer("The documentation.", status=302),)
    return [Route("docs", "GET", ("/", "/docs"), lead, "Go there", "", there, access=Access.PUBLIC)]


def add_docs_page(app: Flask, document: dict[str, Any]) -> None:
    """Serve `document` at /openapi.json and a page for it at /apidocs/."""
    import flask_swagger_ui
    from flasgger import Swagger

    folder = Path(flask_swagger_ui.__file__).parent / "dist"
    app.register_blueprint(
        Blueprint("swagger_ui", __name__, static_url_path=ASSETS, static_folder=str(folder))
    )
    config = {
        "openapi": document["openapi"],
        "title": document["info"]["title"],
        "uiversion": 3,
        "auth": {},  # without it the page's script has a Python None in it
        "hide_top_bar": True,
        "headers": [],
        "specs": [{"endpoint": "openapi", "route": "/openapi.json"}],
        "specs_route": "/apidocs/",
        "static_url_path": "/flasgger_static",
        "swagger_ui": True,
        "swagger_ui_bundle_js": f"{ASSETS}/swagger-ui-bundle.js",
        "swagger_ui_standalone_preset_js": f"{ASSETS}/swagger-ui-standalone-preset.js",
        "swagger_ui_css": f"{ASSETS}/swagger-ui.css",
        "favicon": f"{ASSETS}/favicon-32x32.png",
        "ui_params": {"queryConfigEnabled": False},
        "ui_params_text": PLAY_AUDIO,
    }
    swagger = Swagger(app, config=config, template=document)
    with app.app_context():
        swagger.get_apispecs("openapi")  # a fault in it shows at the start, not to a reader
