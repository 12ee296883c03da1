//! The stable codes of diagnostics, each with one line of explanation; `muster explain CODE` prints it.

macro_rules! codes {
    ($($name:ident = $code:literal: $text:literal;)*) => {
        $(#[doc = $text] pub const $name: &str = $code;)*

        /// Every code with its explanation, in ascending order.
        pub const CODES: &[(&str, &str)] = &[$(($code, $text)),*];
    };
}

codes! {
    YAML_SYNTAX = "M0101": "The text is not YAML: the parser stopped at the place shown.";
    YAML_TAB = "M0102": "A tab stands where YAML wants spaces. YAML forbids tabs in indentation.";
    YAML_DUPLICATE_KEY = "M0103": "A mapping has the same key twice. YAML tools differ on which one wins, so neither is taken.";
    YAML_UNKNOWN_ALIAS = "M0104": "An alias (`*name`) has no anchor (`&name`) before it in the same document.";
    YAML_TOO_LARGE = "M0105": "The document, or what its aliases expand to, is larger than the limit.";
    YAML_KEY = "M0106": "A key of a mapping is not a single value.";
    YAML_MERGE = "M0107": "A merge key (`<<`) takes a mapping or a list of mappings.";
    YAML_DOCUMENTS = "M0108": "The text holds several YAML documents where one is expected.";
    YAML_EMPTY = "M0109": "The text holds no YAML document.";
    YAML_ENCODING = "M0110": "The text is not UTF-8.";
    YAML_TAG = "M0111": "A YAML tag (`!name`) is not known.";
    YAML_RECURSION = "M0112": "An alias stands inside the value that it names, so the value would hold itself.";
    YAML_UNQUOTED_TEMPLATE = "M0113": "A template expression that begins a value has no quotes, so YAML takes its braces for a mapping.";

    READ_TYPE = "M0201": "A value has another type than the one expected, such as a list in place of a text.";
    READ_MISSING = "M0202": "A key that must be there is not.";
    READ_UNKNOWN_KEY = "M0203": "A key is not known at this place.";
    READ_NUMBER = "M0204": "A number cannot be read, or lies outside the range that makes sense.";
    READ_DURATION = "M0205": "A time span cannot be read. Spans are written 30s, 5m or 1h30m.";
    READ_SIZE = "M0206": "A size in bytes cannot be read. Sizes are written 512M or 1.5G.";
    READ_CHOICE = "M0207": "A value is not one of those that are allowed here.";
    READ_EMPTY = "M0208": "A value is empty where something is needed.";
    READ_BOOL = "M0209": "A yes-or-no value is not written `true` or `false`.";

    NAME = "M0301": "A name is not made of letters, digits and inner dashes, or is longer than 63 characters.";
    GROUP_UNKNOWN = "M0302": "A group is referred to that the file does not have.";
    GROUP_CYCLE = "M0303": "Groups need each other in a circle, so none of them can be made first.";
    GROUPS_NONE = "M0304": "The file describes no group, so there is nothing to make.";
    COUNT_AND_HOSTS = "M0305": "A group has both a count and hosts. A count makes machines, hosts are machines that exist.";
    COUNT_RANGE = "M0306": "A count is not a number or a range such as 2..10, or its bounds make no sense.";
    PROVIDER_UNKNOWN = "M0307": "A provider is named that this program does not have.";
    HEALTH = "M0308": "A health check cannot be understood.";
    PORT = "M0309": "A port is not a number from 1 to 65535.";
    FILE_PATH = "M0310": "The path of a file on a node is not absolute.";
    FILE_MODE = "M0311": "The mode of a file is not three or four octal digits.";
    ON_FAILURE = "M0312": "A failure policy is not keep, retry, replace or rollback.";
    VARIANT_NONE = "M0313": "No variant of a group passes its filter.";
    HOST = "M0314": "A host cannot be understood.";
    GROUP_DUPLICATE_NEED = "M0315": "A group is listed twice where once is enough.";
    UNSUPPORTED = "M0316": "The file asks for something that this version cannot do yet.";
    NODE_NAME_CLASH = "M0317": "Two groups make nodes of the same name.";
    ADDRESS_CIRCLE = "M0318": "A group uses addresses of nodes that are made only once it is ready, so both would wait for ever.";
    IMAGE_UNKNOWN = "M0319": "The provider of a group has no image of that name.";

    TEMPLATE_SYNTAX = "M0401": "A template is not well-formed Jinja2.";
    TEMPLATE_UNDEFINED = "M0402": "A template uses something that is not defined.";
    TEMPLATE_FAILED = "M0403": "A template could not be rendered.";
    TEMPLATE_FUNCTION = "M0404": "A template calls a function, filter or test that does not exist.";
    TEMPLATE_ENDLESS = "M0405": "A template ran for longer than any sensible one does.";
    TEMPLATE_REFUSED = "M0406": "A template refuses what it was given, in its own words.";

    RECIPE_UNKNOWN = "M0501": "A recipe is neither in the folder `recipes` beside the file nor built in.";
    RECIPE_ROLE = "M0502": "A recipe does not have the role that is asked for, or has several and none is asked for.";
    RECIPE_VAR_UNKNOWN = "M0503": "A variable, or a key in one, is set that the group's recipe does not know.";
    RECIPE_VAR_TYPE = "M0504": "A variable has another type than its recipe declares.";
    RECIPE_VAR_MISSING = "M0505": "A recipe needs a variable, or a key in one, that nobody sets.";
    RECIPE_BAD = "M0506": "A recipe is broken: its own files are not as a recipe's must be.";
    FILE_MISSING = "M0507": "A file that is referred to cannot be read.";
    CLOUD_INIT = "M0508": "A cloud-config is not a mapping or does not begin as cloud-config does.";
    FILE_TOO_LARGE = "M0509": "A file that is referred to is larger than the limit.";
    MERGE_TYPE = "M0510": "Two cloud-configs give different kinds of value under the same key and cannot be put together.";
    RECIPE_LOADING = "M0511": "The folder of a recipe cannot be read.";
    RECIPE_VAR_LIMIT = "M0512": "A variable lies outside the limits that its recipe sets.";
    RECIPE_ROLE_MISSING = "M0513": "A role needs another role of its recipe, and no group of the file has it.";

    CLOUD_KEY_NOT_DONE = "M0601": "A key is known to cloud-init and not done by this program, so it has no effect.";
    CLOUD_NO_EFFECT = "M0602": "A part of a cloud-config has no effect at the place where it stands.";
    CLOUD_CONTENT = "M0603": "The content of a file cannot be decoded as its encoding says.";
    CLOUD_VALUE = "M0604": "A value of a cloud-config holds what cannot be written on a node, such as a colon in a user's name.";

    OCCOPUS_TYPE = "M0701": "A section of an Occopus node definition has a type that Occopus does not have.";
    OCCOPUS_NODE_TYPE = "M0702": "A node of an Occopus infrastructure has a type that no node definition describes.";
    OCCOPUS_EDGE = "M0703": "A dependency of an Occopus infrastructure does not name two of its nodes.";
    OCCOPUS_IMPORT = "M0704": "A file that an Occopus file imports cannot be read, or its address is not of the form `file://path`.";
    OCCOPUS_IGNORED = "M0705": "Occopus itself passes over this without a word, or fails on it; the message says how it is taken here.";
    OCCOPUS_MODE = "M0706": "The mode of a file stands without quotes, so it is taken for a decimal number.";
    OCCOPUS_REREAD = "M0707": "What a template yields is read as YAML once more, as Occopus does, which changes it.";
    OCCOPUS_NODE_DEF = "M0708": "A top-level key of a file of node definitions is not of the form `node_def:NAME`.";
    OCCOPUS_CONTEXT = "M0709": "What a node is given begins as cloud-config does, and is not one once its templates are rendered.";
    IMPORT_TEMPLATE = "M0720": "A template of an Occopus file has no form in a cluster file that yields the same.";
    IMPORT_WRITTEN_OUT = "M0721": "A template of an Occopus file was replaced by what it yields when the file was imported.";
    IMPORT_DIFFERS = "M0722": "What was imported from Occopus files does not give the same nodes, documents or checks.";
    IMPORT_FOLDED = "M0723": "The line breaks of a variable of an Occopus file were folded when it was imported, as Occopus folds them.";

    LOCAL_TYPE = "M0901": "The block of the provider `local` is not a mapping.";
    LOCAL_KEY = "M0902": "The block of the provider `local` has a setting that does not exist.";
    LOCAL_SUBNET = "M0903": "The subnet of the provider `local` is not a private IPv4 network of 8 to 29 bits.";
    LOCAL_INIT = "M0904": "The init of nodes of the provider `local` is neither `systemd` nor `agent`.";
    LOCAL_MIRROR = "M0905": "The mirror of the provider `local` is not the address of a Debian archive.";
}

/// The explanation of a code.
pub fn explanation(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ascending() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(CODES.iter().all(|(_, text)| text.ends_with('.')));
        assert_eq!(explanation("M0103"), Some(CODES[2].1));
        assert_eq!(explanation("M9999"), None);
    }
}
