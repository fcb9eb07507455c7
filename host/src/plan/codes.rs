//! The code of every kind of mistake that the loader itself finds, in one list, so that the guide can print it. Expressions, executors and
//! the data folder have codes of their own in the same ranges.

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $code;)*

        /// Every code of the loader with what it means, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, $meaning)),*];
    };
}

codes! {
    UNREADABLE = "E0101", "A file is missing, a folder, or may not be read";
    NOT_UTF8 = "E0102", "A file is not UTF-8";
    TOO_LARGE = "E0103", "A file is larger than a pipeline file may be";
    SYNTAX = "E0104", "A file is not YAML";
    TAG = "E0105", "A value begins with a YAML tag: `!x` without quotes";
    MERGE = "E0106", "A map holds YAML's merge key `<<`";
    TOO_MANY = "E0107", "A file has too many values, its aliases stand for too many, or they stand too deep in each other";
    DOCUMENT = "E0108", "A file is empty or holds more than one document";
    UNQUOTED = "E0109", "`${`, `{` or `}` stands without quotes inside `{ … }`";
    ALIAS = "E0110", "A value begins with `*` and names no anchor";
    KEY = "E0111", "A key is not text";
    AMBIGUOUS = "E0112", "YAML readers do not agree on what a value is";
    GIVEN_TWICE = "E0113", "A file or folder is named twice on the command line";
    NO_PIPELINE = "E0114", "A folder holds no pipeline's file";
    LAYOUT = "E0115", "A file cannot be laid out without changing what it means";
    LIBRARIES_ONLY = "E0116", "Only libraries are named, and nothing can be run";
    UNEXPLAINED = "E0117", "No pipeline can be made of a file, and nothing wrong was found in it: a mistake of pipehost's own";
    NO_PIPELINE_FILE = "E0118", "A file is no pipeline's, and neither ends nor reads as one";
    EXPRESSION_IN_COMMENT = "W0101", "A comment holds `${`";
    CUT_VALUE = "W0102", "A ` #` cut a value short";
    SKIPPED = "W0103", "A YAML file of a folder is no pipeline's and is skipped";

    UNKNOWN_KEY = "E0201", "A key is not known where it stands";
    WRONG_KIND = "E0202", "A value is a list, map, text, number or bool where another is wanted";
    TWO_VERBS = "E0203", "A step has two verbs";
    NO_VERB = "E0204", "A step has no verb";
    DUPLICATE_KEY = "E0205", "A key stands twice in one map";
    MISSING_KEY = "E0206", "A key that is needed is missing";
    BAD_NAME = "E0207", "A name or id is not spelled as names are";
    DUPLICATE_NAME = "E0208", "A name or id is given twice";
    UNIT = "E0209", "A duration or size has no unit, or is none";
    SECOND_REPLY = "E0210", "A second reply on one path";
    BAD_TYPE = "E0211", "A declared type is none";
    UNDECLARED_EVENT = "E0212", "An event type is not declared";
    MISFIT = "E0213", "A value is not of the type that is declared for it";
    UNDECLARED_FIELD = "E0214", "A field of the state is not declared";
    EXCLUSIVE_KEYS = "E0215", "Keys stand together that exclude each other";
    MODE = "E0216", "An event trigger does not say whose events it takes";
    UNKNOWN_WORD = "E0217", "A word is none of those that may stand here";
    NUMBER = "E0218", "A number is too small or too large";
    SAME_PIPELINE = "E0219", "Two files declare a pipeline of one name";
    STATE_SHAPE = "E0220", "A reload would lose or retype a field of the state";
    UNKNOWN_FLOW = "E0221", "A `call` names a flow that no loaded file has";
    NOT_MANUAL = "E0222", "A flow of another pipeline is called that has no `manual` trigger";
    TAKEN_NAME = "E0223", "The name of an item means something else already";
    AFTER_ELSE = "E0224", "A branch of a `switch` stands after `else`";
    NOT_DURABLE = "E0225", "A flow with `durable: false` does what needs a journal";
    IMPORT = "E0226", "An import is no library, or the imports go round in a circle";
    IN_LIBRARY = "E0227", "What belongs to a pipeline stands in a library";
    NEVER_EMITTED = "E0228", "A flow takes its own pipeline's events of a type that nothing in the file emits";
    NOT_EXPORTED = "E0229", "A flow hears an event whose emitter does not export it";
    EVENT_TYPES = "E0230", "Two pipelines declare one event in ways that do not fit each other";
    CALL_CIRCLE = "E0231", "Flows call each other in a circle without a condition";
    UNDO_TOO_LATE = "E0232", "An `undo` stands in a flow's `on_error` or `finally`";
    SAME_FIELD = "W0201", "Two branches of a `parallel` set the same field of the state";
    NOBODY_EMITS = "W0202", "A flow hears an event that no other loaded pipeline emits";
    UNHEARD = "W0203", "An event is exported and no loaded pipeline hears it";
    CIRCLE = "W0204", "Flows start each other in a circle without a condition";

    MARKED_EXPRESSION = "E0351", "`${` in a place that takes a bare expression";
    UNCLOSED = "E0352", "A `${` is never closed";
    ENVIRONMENT = "E0353", "An environment variable is read that `env` does not list";
    MISSING_SECRET = "E0354", "A secret has no value";
    SECRET_PLACE = "E0355", "A secret stands where none may";
    AT_LOAD = "E0356", "A value that is fixed at load cannot be evaluated";
    EMPTY_EXPRESSION = "E0357", "An expression is empty";
    LITERAL = "E0358", "`${` in a place that takes a literal";
    NOT_YET_RUN = "E0359", "An expression reads a step that has not run where it stands";
    CONSTANT = "W0351", "A key, a tag or a `match` is a constant that reads like an expression";

    INNER_LONGER = "E0401", "An inner limit is longer than the outer one";
    RETRIES = "E0402", "The retries cannot fit the deadline";
    UNKNOWN_POLICY = "E0403", "A step names a policy that is not declared";
    REMINDER = "E0404", "A reminder comes not later than the one before it, or when the wait is over";
    UNUSED_POLICY = "W0401", "A policy is used by no step";
    LONG_WAY = "W0402", "The waits of a flow can outlast its deadline";

    UNKNOWN_EXECUTOR = "E0551", "A step names an executor that is not declared";
    NEEDS_DECLARATION = "E0552", "A built-in is used that has to be declared";
    UNGRANTED = "W0551", "An executor says that it wants a grant that it has not";
    UNUSED_EXECUTOR = "W0552", "An executor is used by no step";

    UNKNOWN_RESOURCE = "E0651", "A grant names a resource that is not declared";
    RESOURCE_KIND = "E0652", "A grant names a resource of another kind";
    RESOURCE_PATH = "E0653", "A resource's path leaves its folder";
    GLOB = "E0654", "A pattern of files is none";
    ORIGIN = "E0655", "An `http` grant is not scheme, host and port";
    MAIL_SERVER = "E0656", "A `mail` grant is not host and port";
    NO_DOCUMENTS = "W0651", "The pattern of an index matches no file";

    UNMET = "E0801", "What a test expects is not what was seen";
    NOT_MOCKED = "E0802", "A test would reach outside: nothing stands in for an executor";
    NO_END = "E0803", "A test does not come to an end";
    NOTHING_TO_DO = "E0804", "A test asks for what cannot be done, or did not come to it: a run that is not there, a step that is never done";
    BAD_MOCK = "E0805", "A value of a test or of a mock cannot be evaluated";
    RELOADED = "E0806", "A test's `reload` was refused, or was not";
    CANNOT_OPEN = "E0807", "An executor that a test runs for real cannot be opened";

    LATER_TRIGGER = "E0902", "A trigger that is not in this version";
    LATER_KEY = "E0903", "A key that is not in this version";
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_code_stands_for_two_kinds_of_mistakes() {
        let mut codes: Vec<_> = super::ALL.iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), super::ALL.len());
    }
}
