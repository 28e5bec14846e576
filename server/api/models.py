"""Voices by HTTP: which there are, what they are called, and where they are in memory."""

from __future__ import annotations

from dataclasses import asdict
from typing import TypeVar

from flask import Response, g, jsonify, request
from pydantic import BaseModel, ValidationError

from rvc_core.errors import InvalidOption
from server.api.bodies import read_json_object
from server.api.context import ApiContext
from server.api.route import Access, Answer, Body, Parameter, Route, json_of
from server.api.schemas import Voice, VoiceList
from server.api.schemas_voices import (
    PinRequest,
    RenameRequest,
    UnloadRequest,
    VoiceLoaded,
    VoiceLoadRequest,
)
from server.api.uploads import upload_routes
from server.records import LoadRequest
from server.services import Services

TAG = "voices"
VOICE_PATH = "/api/v1/models/<model_id>"

Fields = TypeVar("Fields", bound=BaseModel)


def model_routes(context: ApiContext) -> list[Route]:
    """The routes about voices; those that change anything are for administrators."""
    services = context.services
    return [
        *_listing_routes(services),
        *upload_routes(context),
        *_name_routes(services),
        *_place_routes(context),
    ]


def _listing_routes(services: Services) -> list[Route]:
    def models() -> Response:
        engine = request.args.get("engine")
        found = [info for info in services.voices() if engine in (None, info.engine)]
        voices = [Voice(**asdict(info)) for info in found]
        return jsonify(
            VoiceList(models=voices, default_model=services.default_voice()).model_dump()
        )

    def model(model_id: str) -> Response:
        return _voice(services, model_id)

    return [
        Route(
            name="models",
            method="GET",
            paths=("/api/v1/models",),
            handler=models,
            summary="All voices",
            tag=TAG,
            parameters=(Parameter("engine", "Only voices of this engine, such as rvc."),),
            answers=(Answer("All voices on disk.", json_of(VoiceList)),),
        ),
        Route(
            name="model",
            method="GET",
            paths=(VOICE_PATH,),
            handler=model,
            summary="One voice",
            tag=TAG,
            answers=(Answer("The voice.", json_of(Voice)),),
            failures=(404,),
        ),
    ]


def _name_routes(services: Services) -> list[Route]:
    def rename(model_id: str) -> Response:
        return _voice(services, services.desk.rename(model_id, _read(RenameRequest).name))

    def remove(model_id: str) -> Response:
        services.desk.remove(model_id)
        return Response(status=204)

    return [
        Route(
            name="rename_model",
            method="PATCH",
            paths=(VOICE_PATH,),
            handler=rename,
            summary="Rename a voice and its index",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(json_of(RenameRequest), example={"name": "anna"}),
            answers=(Answer("The voice under its new name.", json_of(Voice)),),
            failures=(400, 404, 409, 415, 503),
        ),
        Route(
            name="remove_model",
            method="DELETE",
            paths=(VOICE_PATH,),
            handler=remove,
            summary="Remove a voice and its index from memory and disk",
            tag=TAG,
            access=Access.ADMIN,
            answers=(Answer("It is gone.", status=204),),
            failures=(404, 409, 503),
        ),
    ]


def _place_routes(context: ApiContext) -> list[Route]:
    services = context.services

    def load(model_id: str) -> Response:
        wanted = _read(VoiceLoadRequest, may_be_empty=True)
        with context.request_token(services.settings.max_request_seconds) as token:
            order = LoadRequest(model_id, g.request_id, wanted.target == "cpu", wanted.pin)
            loaded = services.load(order, token)
        pinned = services.leases.is_pinned(loaded.voice)
        fields = {name: value for name, value in asdict(loaded).items() if name != "voice"}
        return jsonify(VoiceLoaded(id=loaded.voice, pinned=pinned, **fields).model_dump())

    def unload(model_id: str) -> Response:
        services.unload(model_id, _read(UnloadRequest, may_be_empty=True).force)
        return _voice(services, model_id)

    def pin(model_id: str) -> Response:
        services.set_pinned(model_id, _read(PinRequest).pinned)
        return _voice(services, model_id)

    return [
        Route(
            name="load_model",
            method="POST",
            paths=(VOICE_PATH + "/load",),
            handler=load,
            summary="Load a voice before it is asked for",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(json_of(VoiceLoadRequest), required=False, example={"target": "gpu"}),
            answers=(Answer("Where it is now.", json_of(VoiceLoaded)),),
            failures=(400, 404, 503, 504),
        ),
        Route(
            name="unload_model",
            method="POST",
            paths=(VOICE_PATH + "/unload",),
            handler=unload,
            summary="Drop a voice from every device and from memory",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(json_of(UnloadRequest), required=False, example={"force": False}),
            answers=(Answer("The voice, unloaded.", json_of(Voice)),),
            failures=(400, 404, 409, 503),
        ),
        Route(
            name="pin_model",
            method="POST",
            paths=(VOICE_PATH + "/pin",),
            handler=pin,
            summary="Keep a voice in its place, or no longer",
            tag=TAG,
            access=Access.ADMIN,
            body=Body(json_of(PinRequest), example={"pinned": True}),
            answers=(Answer("The voice.", json_of(Voice)),),
            failures=(400, 404, 503),
        ),
    ]


def _voice(services: Services, name: str) -> Response:
    return jsonify(Voice(**asdict(services.catalogue.voice(name))).model_dump())


def _read(model: type[Fields], may_be_empty: bool = False) -> Fields:
    """The JSON body; raise `InvalidOption` naming the field at fault."""
    fields = {} if may_be_empty and not request.get_data() else read_json_object()
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])[:80]
        raise InvalidOption(f"{name}: {first['msg']}.", param=name) from None
