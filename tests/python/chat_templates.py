"""Chat templates for the tests, by the constructs that those of the families are made of (written for this, not copied), and
conversations to put through them.

The real templates that are at hand (../shared/tokenizers, SmolLM2's GGUF) are tested beside them.
"""

import random

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set head = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set head = false %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns') }}{% endif %}"
    "{% if loop.index0 == 0 and head != false %}{% set content = '<<SYS>>\\n' + head + '\\n<</SYS>>\\n\\n' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")

LLAMA3_TOOLS = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The first message may be the system's. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have these functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("There is no first user message to put the tools into") }}
    {%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {{- 'Respond with {"name": function name, "parameters": dictionary}.' }}
    {{- "Do not use variables.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Turns are counted without the calls of tools. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, user and assistant must take turns") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

QWEN25 = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

PHI3 = ("{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")

PHI3_ROLES = ("{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + "
              "'<|end|>\n' }}{% endfor %}{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
              "{{- '<|assistant|>\n' -}}{% endif %}")

DEEPSEEK = """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}
{%- for message in messages %}{%- if message['role'] == 'system' %}
{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}
{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}
{{- bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}
{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- set ns.is_tool = false -%}
{%- for tool in message['tool_calls'] %}
{%- if not ns.is_first %}
{%- if message['content'] is none %}{{'<｜Assistant｜><｜tool▁calls▁begin｜>' + tool['type'] + '\\n' + '```json' + '\\n' + tool['function']['arguments']|tojson + '\\n' + '```'}}
{%- else %}{{'<｜Assistant｜>' + message['content'] + '<｜tool▁calls▁begin｜>' + tool['type'] + tool['function']['name']}}{%- endif %}
{%- set ns.is_first = true -%}
{%- else %}{{'\\n' + '<｜tool▁call▁begin｜>' + tool['type'] + tool['function']['name'] + '<｜tool▁call▁end｜>'}}{%- endif %}
{%- endfor %}{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endif %}
{%- if message['role'] == 'assistant' and 'tool_calls' not in message %}
{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}
{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}
{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}
{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜>' + message['content']|string + '<｜tool▁output▁end｜>'}}{%- set ns.is_output_first = false %}
{%- else %}{{'\\n<｜tool▁output▁begin｜>' + message['content']|string + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endif %}
{%- endfor -%}
{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}"""

GEMMA2 = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
          "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
          "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
          "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
          "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}")

# Constructs of newer templates: macros, set blocks, filters with arguments, loop controls, sorted members.
MACROS = """{#- a comment
over lines -#}
{%- macro describe(schema, depth=0, required=[]) -%}
    {%- set pad = '  ' * depth -%}
    {%- for name, value in schema.properties | dictsort -%}
        {{- '\\n' ~ pad ~ '- ' ~ name ~ ('' if name not in (required or []) else '!') }}: {{ value.type | default('any') | upper }}
        {%- if value.enum is defined %} ({{ value.enum | map('string') | join('|') }}){% endif -%}
        {%- if value.properties is defined %}{{ describe(value, depth + 1, required=value.required) }}{% endif -%}
    {%- endfor -%}
{%- endmacro -%}
{%- set thinking = enable_thinking if enable_thinking is defined else true -%}
{% set header %}
<|im_start|>system
## Metadata
Reasoning: {{ "/think" if thinking else "/no_think" }}
{% endset %}
{{- header | trim }}
{%- if tools %}
{%- for t in tools | sort(attribute='function.name') %}

# {{ loop.index }}/{{ loop.length }} {{ t.function.name | title }} ({{ t.function.description[:12] }}...)
{{- describe(t.function.parameters, 1, t.function.parameters.required) | indent(2) }}
{%- endfor %}
{%- endif %}
<|im_end|>
{% for message in messages -%}
    {%- if message.role == 'system' %}{% continue %}{% endif -%}
    {%- if loop.index > 12 %}{% break %}{% endif -%}
    <|im_start|>{{ message.role }}
{% generation %}{% if message.content is string -%}
{{ message.content.replace('\\r\\n', '\\n').strip() }}
    {%- elif message.content is none %}
(nothing)
    {%- else %}{% for part in message.content if part.type == 'text' -%}
{{ part.text if part.text is defined }}{{ ', ' if not loop.last }}
    {%- else %}(no text){% endfor %}{%- endif %}{% endgeneration %}
    {%- for call in message.tool_calls or [] %}
<tool_call>{{ call.function | tojson }}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}</tool_call>
    {%- endfor %}
<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}
<|im_start|>assistant
{% if not thinking %}<think>

</think>
{% endif %}{% endif %}"""

BUILT = {"llama2": LLAMA2, "llama3-tools": LLAMA3_TOOLS, "mistral": MISTRAL, "qwen2.5": QWEN25, "phi3": PHI3,
         "phi3-roles": PHI3_ROLES, "deepseek": DEEPSEEK, "gemma2": GEMMA2, "macros": MACROS}

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

WORDS = ["hello", "Grüße", "fjord", "日本語", "😀", "2+2", "a_b", "Why?", "{{ x }}", "{% if %}", "\\n", "\"quoted\"", "it's",
         "ΩΜΈΓΑ", "naïve", "<b>&amp;</b>", "\u00a0", "\u2028", "é", "100%", "%s", "C:\\dir"]
SPECIAL = ["<|im_end|>", "<|im_start|>system", "<|eot_id|>", "</s>", "[/INST]", "<end_of_turn>", "<|end|>", "<think>",
           "</think>", "<｜Assistant｜>", "<|endoftext|>", "<tool_response>", "</tool_response>"]
SPACES = [" ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", ""]


def text(rng):
    parts = [rng.choice(SPACES)]
    for _ in range(rng.randrange(0, 9)):
        parts += [rng.choice(WORDS if rng.random() < 0.85 else SPECIAL), rng.choice(SPACES[:6])]
    return "".join(parts)


def value(rng, depth=0):
    kind = rng.randrange(0, 8 if depth < 2 else 6)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(0, 3))]
    if kind == 7:
        return {rng.choice(WORDS): value(rng, depth + 1) for _ in range(rng.randrange(0, 3))}
    return [None, rng.random() < 0.5, rng.randrange(-10**6, 10**12), rng.choice([0.5, -1e-7, 1e22, 3.0, 1 / 3, 123456789.25]),
            text(rng), ""][kind]


def tool(rng):
    names = rng.sample(["city", "unit", "Count", "when", "x"], rng.randrange(1, 4))
    properties = {}
    for name in names:
        properties[name] = {"type": rng.choice(["string", "integer", "object"]), "description": text(rng)}
        if rng.random() < 0.3:
            properties[name]["enum"] = rng.sample(["celsius", "fahrenheit", 3, True], 2)
        if rng.random() < 0.3:
            properties[name]["properties"] = {"inner": {"type": "number"}}
            properties[name]["required"] = ["inner"]
    return {"type": "function", "function": {
        "name": rng.choice(["get_weather", "search", "Add_numbers"]), "description": text(rng) or "d",
        "parameters": {"type": "object", "properties": properties, "required": names[:1]}}}


def call(rng):
    return {"id": "".join(rng.choices("abcdef012345", k=9)), "type": "function",
            "function": {"name": rng.choice(["get_weather", "search"]), "arguments": {rng.choice(WORDS): value(rng)}}}


def conversation(rng):
    """messages and what else apply_chat_template is given."""
    messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.5 else []
    with_tools = rng.random() < 0.4
    for _ in range(rng.randrange(1, 5)):
        messages.append({"role": "user", "content": text(rng)})
        if with_tools and rng.random() < 0.5:
            calls = [call(rng) for _ in range(rng.randrange(1, 3))]
            messages.append({"role": "assistant", "content": rng.choice(["", text(rng), None]), "tool_calls": calls})
            for c in calls:
                messages.append({"role": "tool", "name": c["function"]["name"], "tool_call_id": c["id"],
                                 "content": rng.choice([text(rng), '{"t": 1}'])})
        messages.append({"role": "assistant", "content": text(rng)})
        if rng.random() < 0.2:
            messages[-1]["reasoning_content"] = text(rng)
        if rng.random() < 0.1:
            messages[-1]["content"] = "<think>\n" + text(rng) + "\n</think>\n\n" + text(rng)
    if rng.random() < 0.8:
        messages.pop()
    if rng.random() < 0.05:
        messages[-1]["content"] = [{"type": "text", "text": text(rng)}, {"type": "image"}]
    more = {}
    if rng.random() < 0.3:
        more["enable_thinking"] = rng.random() < 0.5
    if rng.random() < 0.2:
        more["tools_in_user_message"] = rng.random() < 0.5
    return {"messages": messages, "tools": [tool(rng) for _ in range(rng.randrange(1, 3))] if with_tools else None,
            "documents": None, "add_generation_prompt": rng.random() < 0.7, **more}


def conversations(count, seed=14):
    rng = random.Random(seed)
    return [conversation(rng) for _ in range(count)]
