"""The text pipelines that transformers 5.3 dropped, for `transformers.pipeline`: importing this package registers them.

    import nlptk.pipelines
    from transformers import pipeline

    pipeline("question-answering", model=FOLDER)(question="Where is it?", context="It is in the box.")
    pipeline("translation_en_to_fr", model=FOLDER)(["How old are you?"], num_beams=1)

`question-answering`, `summarization`, `translation`, `translation_xx_to_yy` and `text2text-generation` take the
arguments of transformers 4.57 and return its keys, answers, spans, scores and token ids. Where 4.57 broke its own
word, this package keeps the word:

- a tokenizer that pads on the left (context before question): 4.57 also takes answers from the question;
- more answers asked for than there are spans: 4.57 fills up with impossible spans of score 0;
- several pipelines over one model object: 4.57 removes the prefix from the model's config when it is first read.

Kept on purpose, as saved outputs depend on it: four beams and 256 new tokens go before the model's own `num_beams` and
`max_new_tokens`, and 256 before a `max_length` of the call (generate says so), though not before one of the model; a
nested list answers the first text of each inner list (this package warns).
"""

from nlptk.pipelines.restored.question_answering import QuestionAnsweringPipeline
from nlptk.pipelines.restored.registration import register
from nlptk.pipelines.restored.text2text import Text2TextGenerationPipeline
from nlptk.pipelines.restored.text_tasks import SummarizationPipeline, TranslationPipeline

__all__ = ["QuestionAnsweringPipeline", "SummarizationPipeline", "Text2TextGenerationPipeline", "TranslationPipeline"]

register()
