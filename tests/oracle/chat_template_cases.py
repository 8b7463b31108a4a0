"""Makes tests/data/text/chat_template_cases.json: what Python's jinja2 renders from llama.cpp's collection of chat
templates, as FNV-1a hashes. The environment is the one that `transformers` gives to templates.

    pip install jinja2
    python chat_template_cases.py ~/.cache/kinglet/vocab/templates tests/data/text/chat_template_cases.json [FOLDER]

With FOLDER, the texts themselves are written there.
"""

import datetime
import json
import pathlib
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 11, 23, 12, 34, 56)


class Generation(Extension):
    """`{% generation %}` prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, \"now\" or on a day.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 0},
            },
            "required": ["city"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments):
    return {"id": "call_001", "type": "function", "function": {"name": name, "arguments": arguments}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def tool_turn(city="Zürich"):
    return [
        message("user", f"How is the weather in {city}?"),
        message("assistant", "", tool_calls=[call("get_weather", {"city": city, "days": 2})]),
        message("tool", "{\"temperature\": 21.5, \"sky\": \"clear\"}", name="get_weather", tool_call_id="call_001"),
    ]


CHATS = {
    "user": {"messages": [message("user", "What is gravity?")]},
    "system": {"messages": [message("system", "You are terse."), message("user", "Hi there!")]},
    "turns": {
        "messages": [
            message("system", "  You are kind.\n"),
            message("user", "One?\n\nTwo?  "),
            message("assistant", "\n1. **One**\n2. \"Two\" 'three' {x} </div>"),
            message("user", "Grüße, 世界 👍 & <b>"),
        ]
    },
    "no_prompt": {
        "messages": [message("user", "Hello"), message("assistant", "Hello to you.")],
        "add_generation_prompt": False,
    },
    "thoughts": {
        "messages": [
            message("user", "2+2?"),
            message("assistant", "4", reasoning_content="Simple sum.\nDone."),
            message("user", "3+3?"),
            message("assistant", "<think>\nhmm\n</think>\n\n6"),
            message("user", "And 4+4?"),
        ]
    },
    "tools": {"messages": [message("user", "Weather in Zürich?")], "tools": [WEATHER, TIME]},
    "tools_system": {
        "messages": [message("system", "Use tools."), message("user", "Weather in Zürich?")],
        "tools": [WEATHER],
    },
    "tool_call": {"messages": tool_turn(), "tools": [WEATHER, TIME]},
    "tool_answer": {
        "messages": [*tool_turn(), message("assistant", "21.5 degrees."), message("user", "Thanks!")],
        "tools": [WEATHER],
    },
    "documents": {
        "messages": [message("user", "What do the documents say?")],
        "documents": [{"title": "A", "text": "First text."}, {"title": "B", "text": "Second text."}],
    },
    "wrong_order": {"messages": [message("assistant", "I begin."), message("assistant", "And go on.")]},
    "empty": {"messages": [message("user", "")]},
}


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def main(templates, out, texts=None):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: NOW.strftime(format)
    results = {}
    for path in sorted(pathlib.Path(templates).glob("*.jinja")):
        template = environment.from_string(path.read_text(encoding="utf-8"))
        row = results[path.name] = {}
        for name, chat in CHATS.items():
            context = {"tools": None, "documents": None, "add_generation_prompt": True, **chat}
            try:
                text = template.render(bos_token="<|bos|>", eos_token="<|eos|>", **context)
            except jinja2.exceptions.TemplateError as error:
                row[name] = {"error": str(error)[:80]}
                continue
            except Exception as error:  # noqa: BLE001: a template may do anything
                row[name] = {"error": f"{type(error).__name__}"}
                continue
            row[name] = fnv1a(text)
            if texts:
                folder = pathlib.Path(texts) / path.stem
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"chats": CHATS, "templates": results}, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    rendered = sum(isinstance(result, str) for row in results.values() for result in row.values())
    print(len(results), "templates,", rendered, "texts")


if __name__ == "__main__":
    main(*sys.argv[1:])
