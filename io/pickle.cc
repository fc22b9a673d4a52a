// The reader of pickles, as a stack machine that builds a tree and calls nothing. Over 600 lines for the format's sixty
// opcodes: one switch, to be read beside Python's pickletools.
#include "usol/io/pickle.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "usol/io/pickle_globals.h"
#include "usol/tensor/check.h"

namespace usol::io {

SharedBytes PickleTree::bytes(const PickleNode& node) const {
  // Texts point into the source or into strings_, neither of which is const underneath.
  auto* data = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(node.text.data()));
  const bool in_source =
      !source_.bytes.empty() && data >= source_.bytes.data() && data < source_.bytes.data() + source_.bytes.size();
  if (in_source) return {{data, node.text.size()}, source_.owner, source_.name};
  return own_bytes({data, data + node.text.size()}, source_.name);
}

std::optional<PickleTree::Index> PickleTree::find(Index dict, std::string_view key) const {
  const PickleNode& node = nodes_[dict];
  if (node.kind != PickleKind::kDict) return std::nullopt;
  for (std::size_t i = node.items.size(); i >= 2; i -= 2) {
    const PickleNode& candidate = nodes_[node.items[i - 2]];
    if (candidate.kind == PickleKind::kString && candidate.text == key) return node.items[i - 1];
  }
  return std::nullopt;
}

const std::vector<PickleTree::Index>& PickleTree::arguments(Index object) const {
  const PickleNode& node = nodes_[object];
  return node.items.empty() ? node.items : nodes_[node.items[0]].items;
}

void PickleTree::fail_at(const PickleNode& node, const std::string& message) const {
  fail(ErrorKind::kFormat, fmt::format("pickle: {}: byte {}: {}", name(), node.offset, message));
}

/// The stack machine. One switch, one call of a small function per opcode.
class PickleReader {
 public:
  PickleReader(const SharedBytes& source, std::size_t start)
      : at_(start), opcode_at_(start), budget_(4 * (source.size() - start) + 1024) {
    tree_.source_ = source;
  }
  PickleTree run();

 private:
  using Index = PickleTree::Index;
  static constexpr std::size_t kMaxNodes = std::size_t{1} << 22;

  template <class... Args>
  void require(bool condition, fmt::format_string<Args...> format, Args&&... args) const {
    if (!condition) [[unlikely]]
      refuse(ErrorKind::kFormat, fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void refuse(ErrorKind kind, const std::string& message) const {
    fail(kind, fmt::format("pickle: {}: byte {}: {}", tree_.name(), opcode_at_, message));
  }
  /// Copies are paid for, so that a short file cannot ask for the same large copy again and again.
  void spend(std::size_t amount) {
    require(amount <= budget_, "copies more than its size allows");
    budget_ -= amount;
  }

  // ---- reading ----
  std::string_view take(std::uint64_t count) {
    const auto all = tree_.source_.bytes;
    require(count <= all.size() - at_, "needs {} more bytes, {} are left (truncated?)", count, all.size() - at_);
    const auto* data = reinterpret_cast<const char*>(all.data()) + at_;
    at_ += count;
    return {data, static_cast<std::size_t>(count)};
  }
  std::string_view take_line() {
    const std::size_t left = tree_.source_.bytes.size() - at_;
    const std::string_view rest(reinterpret_cast<const char*>(tree_.source_.bytes.data()) + at_, left);
    const std::size_t end = rest.find('\n');
    require(end != std::string_view::npos, "a line without an end (truncated?)");
    at_ += end + 1;
    return rest.substr(0, end);
  }
  /// Little-endian unsigned number of 1 to 8 bytes.
  std::uint64_t take_number(std::size_t bytes) {
    const std::string_view text = take(bytes);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::uint64_t{static_cast<unsigned char>(text[i])} << (8 * i);
    return value;
  }

  // ---- the stack ----
  Index make(PickleKind kind) {
    if (tree_.nodes_.size() >= kMaxNodes)
      refuse(ErrorKind::kUnsupported, fmt::format("more than {} objects", kMaxNodes));
    PickleNode& node = tree_.nodes_.emplace_back();
    node.kind = kind;
    node.offset = opcode_at_;
    return static_cast<Index>(tree_.nodes_.size() - 1);
  }
  PickleNode& node(Index index) { return tree_.nodes_[index]; }
  void push(Index index) { stack_.push_back(index); }
  void push_text(PickleKind kind, std::string_view text) {
    push(make(kind));
    node(stack_.back()).text = text;
  }
  void push_owned(PickleKind kind, std::string text) { push_text(kind, tree_.strings_.emplace_back(std::move(text))); }
  void push_int(std::int64_t value, PickleKind kind = PickleKind::kInt) {
    push(make(kind));
    node(stack_.back()).integer = value;
  }
  void push_float(double value) {
    push(make(PickleKind::kFloat));
    node(stack_.back()).real = value;
  }
  void push_items(PickleKind kind, std::vector<Index> items) {
    push(make(kind));
    node(stack_.back()).items = std::move(items);
  }
  Index top() const {
    require(stack_.size() > floor(), "the stack is empty");
    return stack_.back();
  }
  Index pop() {
    const Index index = top();
    stack_.pop_back();
    return index;
  }
  std::vector<Index> pop_last(std::size_t count) {
    require(stack_.size() - floor() >= count, "the stack is too short");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<Index> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    return items;
  }
  std::vector<Index> pop_to_mark() {
    require(!marks_.empty(), "no mark on the stack");
    std::vector<Index> items = pop_last(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  /// Opcodes between a mark and its use cannot reach below the mark.
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }

  // ---- opcodes ----
  void global(std::string_view module, std::string_view name);
  void call(Index callee, Index arguments);
  void ordered_dict(const PickleNode& arguments);
  void encode(const PickleNode& arguments);
  void attribute(const PickleNode& arguments);
  void reconstruct(const PickleNode& arguments);
  void build();
  static void become(PickleNode& target, PickleKind kind);
  void append(Index list, std::vector<Index> items);
  void set_items(Index dict, std::vector<Index> items);
  void put(std::uint64_t key) { memo_[key] = top(); }
  void get(std::uint64_t key) {
    const auto found = memo_.find(key);
    require(found != memo_.end(), "memo {} was never stored", key);
    push(found->second);
  }
  void long_integer(std::string_view bytes);
  template <class T>
  T parse_decimal(std::string_view text) const {
    T value{};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    require(result.ec == std::errc() && result.ptr == text.data() + text.size(), "'{}' is no number of 64 bits",
            text.substr(0, 40));
    return value;
  }
  void text_integer(std::string_view line);
  void quoted_string(std::string_view line);
  void escaped_unicode(std::string_view line);
  bool step(unsigned char opcode);

  PickleTree tree_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Index> memo_;
  std::size_t at_, opcode_at_;
  std::size_t budget_;
};

void PickleReader::global(std::string_view module, std::string_view name) {
  spend(module.size() + name.size());
  ResolvedGlobal resolved = resolve_pickle_global(module, name);
  require(resolved.kind != PickleGlobal::kRunsCode,
          "refers to '{}.{}', which is not on the list of what weights need: Python would run it on opening the file. "
          "Nothing was run here; do not open the file elsewhere",
          module.substr(0, 200), name.substr(0, 200));
  push_owned(PickleKind::kGlobal, std::move(resolved.name));
  node(stack_.back()).foreign = resolved.kind == PickleGlobal::kForeign;
}

/// getattr(class, "name"): how classes inside of classes and their functions are spelled. Anything else that getattr
/// could be asked for has no place in weights.
void PickleReader::attribute(const PickleNode& arguments) {
  const bool named = arguments.items.size() == 2 && node(arguments.items[0]).kind == PickleKind::kGlobal &&
                     node(arguments.items[1]).kind == PickleKind::kString;
  require(named,
          "refers to 'builtins.getattr', which is not on the list of what weights need, but for a class's parts");
  global(node(arguments.items[0]).text, node(arguments.items[1]).text);
}

/// copyreg._reconstructor(class, base, state of the base): an object of the class.
void PickleReader::reconstruct(const PickleNode& arguments) {
  require(arguments.items.size() == 3 && node(arguments.items[0]).kind == PickleKind::kGlobal,
          "malformed _reconstructor");
  const PickleNode& of_class = node(arguments.items[0]);
  const PickleNode& base_state = node(arguments.items[2]);
  const std::string_view name = of_class.text;
  const bool foreign = of_class.foreign;
  if (foreign && (base_state.kind == PickleKind::kDict || base_state.kind == PickleKind::kList)) {
    spend(base_state.items.size());
    push_items(base_state.kind, base_state.items);
    node(stack_.back()).text = name;
  } else {
    push_text(PickleKind::kObject, name);
  }
  node(stack_.back()).foreign = foreign;
}

/// OrderedDict([[key, value], ...]), as Python 2 wrote it.
void PickleReader::ordered_dict(const PickleNode& arguments) {
  std::vector<Index> items;
  if (!arguments.items.empty()) {
    const PickleNode& pairs = node(arguments.items[0]);
    require(pairs.kind == PickleKind::kList && arguments.items.size() == 1,
            "OrderedDict of something other than pairs");
    spend(2 * pairs.items.size());
    for (const Index pair : pairs.items) {
      const auto& sequence = node(pair);
      require((sequence.kind == PickleKind::kList || sequence.kind == PickleKind::kTuple) && sequence.items.size() == 2,
              "OrderedDict of something other than pairs");
      items.insert(items.end(), sequence.items.begin(), sequence.items.end());
    }
  }
  push_items(PickleKind::kDict, std::move(items));
}

/// encode(text, 'latin1'): how protocol 2 spells bytes.
void PickleReader::encode(const PickleNode& arguments) {
  require(arguments.items.size() == 2 && node(arguments.items[0]).kind == PickleKind::kString &&
              (node(arguments.items[1]).text == "latin1" || node(arguments.items[1]).text == "latin-1"),
          "_codecs.encode other than of a text to latin1");
  const std::string_view text = node(arguments.items[0]).text;
  spend(text.size());
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      bytes += text[i];
      continue;
    }
    require(
        (lead == 0xc2 || lead == 0xc3) && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) >> 6) == 2,
        "a text that is not latin1");
    bytes += static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f));
  }
  push_owned(PickleKind::kBytes, std::move(bytes));
}

void PickleReader::call(Index callee, Index arguments) {
  // A foreign function may return another one, which is called in turn: functools.partial does.
  require(
      node(callee).kind == PickleKind::kGlobal || (node(callee).kind == PickleKind::kObject && node(callee).foreign),
      "calls something that is no global");
  require(node(arguments).kind == PickleKind::kTuple, "calls '{}' with something that is no tuple", node(callee).text);
  const std::string_view name = node(callee).text;
  const PickleNode& tuple = node(arguments);
  if (name == "_codecs.encode") return encode(tuple);
  if (name == "builtins.bytes" && tuple.items.empty()) return push_text(PickleKind::kBytes, {});
  if (name == "collections.OrderedDict" || name == "builtins.dict") return ordered_dict(tuple);
  if (name == "collections.defaultdict") return push_items(PickleKind::kDict, {});
  if (name == "collections.Counter" && !tuple.items.empty()) return push(tuple.items[0]);
  if (name == "copyreg._reconstructor") return reconstruct(tuple);
  if (name == "builtins.getattr") return attribute(tuple);
  // The object keeps the tuple's node rather than a copy of its items: calls cost the same however long the tuple is.
  const bool foreign = node(callee).foreign;
  const Index object = make(PickleKind::kObject);
  node(object).text = name;
  node(object).foreign = foreign;
  node(object).items = {arguments};
  push(object);
}

void PickleReader::build() {
  const Index state = pop();
  PickleNode& target = node(top());
  // A dict's attributes (OrderedDict's _metadata) say nothing about its entries.
  require(target.kind == PickleKind::kObject || target.kind == PickleKind::kDict || target.foreign,
          "sets the state of a plain value");
  target.state = state;
}

/// An object of a foreign class that gets entries is of a class derived from list or dict: that is what it becomes.
void PickleReader::become(PickleNode& target, PickleKind kind) {
  if (!target.foreign || target.kind != PickleKind::kObject) return;
  target.kind = kind;
  target.items.clear();  // the arguments of its class
}

void PickleReader::append(Index list, std::vector<Index> items) {
  PickleNode& target = node(list);
  become(target, PickleKind::kList);
  require(target.kind == PickleKind::kList, "appends to something that is no list");
  target.items.insert(target.items.end(), items.begin(), items.end());
}

void PickleReader::set_items(Index dict, std::vector<Index> items) {
  PickleNode& target = node(dict);
  become(target, PickleKind::kDict);
  require(target.kind == PickleKind::kDict, "sets items of something that is no dict");
  require(items.size() % 2 == 0, "a key without a value");
  target.items.insert(target.items.end(), items.begin(), items.end());
}

void PickleReader::long_integer(std::string_view bytes) {
  if (bytes.size() > 8) return push_text(PickleKind::kBigInt, bytes);
  std::uint64_t value =
      !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0 ? ~std::uint64_t{0} : 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  push_int(static_cast<std::int64_t>(value));
}

void PickleReader::text_integer(std::string_view line) {
  if (line == "00" || line == "01") return push_int(line == "01", PickleKind::kBool);
  if (line.ends_with('L')) line.remove_suffix(1);
  push_int(parse_decimal<std::int64_t>(line));
}

/// Protocol 0's str: a Python literal in quotes.
void PickleReader::quoted_string(std::string_view line) {
  require(line.size() >= 2 && (line.front() == '\'' || line.front() == '"') && line.back() == line.front(),
          "a string without quotes");
  line = line.substr(1, line.size() - 2);
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\') {
      text += line[i];
      continue;
    }
    require(i + 1 < line.size(), "a string ends in a backslash");
    const char kind = line[++i];
    constexpr std::string_view kPlain = "\\'\"ntr";
    constexpr std::string_view kMeaning = "\\'\"\n\t\r";
    if (const std::size_t known = kPlain.find(kind); known != std::string_view::npos) {
      text += kMeaning[known];
    } else {
      unsigned value = 0;
      require(kind == 'x' && i + 2 < line.size(), "unknown escape '\\{}'", kind);
      const auto result = std::from_chars(line.data() + i + 1, line.data() + i + 3, value, 16);
      require(result.ptr == line.data() + i + 3, "a malformed \\x escape");
      text += static_cast<char>(value);
      i += 2;
    }
  }
  push_owned(PickleKind::kString, std::move(text));
}

/// Protocol 0's unicode: latin1 bytes with \uXXXX and \UXXXXXXXX escapes.
void PickleReader::escaped_unicode(std::string_view line) {
  std::string text;
  const auto append_utf8 = [&](std::uint32_t code) {
    require(code < 0x110000, "a character beyond Unicode");
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xc0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      if (code < 0x10000) {
        text += static_cast<char>(0xe0 | code >> 12);
      } else {
        text += static_cast<char>(0xf0 | code >> 18);
        text += static_cast<char>(0x80 | (code >> 12 & 0x3f));
      }
      text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
      text += static_cast<char>(0x80 | (code & 0x3f));
    }
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool escape = line[i] == '\\' && i + 1 < line.size() && (line[i + 1] == 'u' || line[i + 1] == 'U');
    if (!escape) {
      append_utf8(static_cast<unsigned char>(line[i]));
      continue;
    }
    const std::size_t digits = line[i + 1] == 'u' ? 4 : 8;
    require(i + 1 + digits < line.size(), "a truncated \\u escape");
    std::uint32_t code = 0;
    const char* first = line.data() + i + 2;
    require(std::from_chars(first, first + digits, code, 16).ptr == first + digits, "a malformed \\u escape");
    append_utf8(code);
    i += 1 + digits;
  }
  push_owned(PickleKind::kString, std::move(text));
}

/// Executes one opcode; false at the end.
bool PickleReader::step(unsigned char opcode) {
  switch (opcode) {
    case 0x80:  // PROTO
      require(take_number(1) <= 5, "a pickle protocol newer than 5");
      break;
    case 0x95:  // FRAME
      require(take_number(8) <= tree_.source_.size() - at_, "a frame longer than the file (truncated?)");
      break;
    case '.':  // STOP
      return false;

    case '(':  // MARK
      marks_.push_back(stack_.size());
      break;
    case '0':  // POP: a mark, if that is on top
      if (!marks_.empty() && marks_.back() == stack_.size()) {
        marks_.pop_back();
      } else {
        pop();
      }
      break;
    case '1':  // POP_MARK
      pop_to_mark();
      break;
    case '2':  // DUP
      push(top());
      break;

    case 'N':  // NONE
      push(make(PickleKind::kNone));
      break;
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      push_int(opcode == 0x88, PickleKind::kBool);
      break;
    case 'J':  // BININT
      push_int(static_cast<std::int32_t>(static_cast<std::uint32_t>(take_number(4))));
      break;
    case 'K':  // BININT1
      push_int(static_cast<std::int64_t>(take_number(1)));
      break;
    case 'M':  // BININT2
      push_int(static_cast<std::int64_t>(take_number(2)));
      break;
    case 'I':  // INT
    case 'L':  // LONG
      text_integer(take_line());
      break;
    case 0x8a:  // LONG1
      long_integer(take(take_number(1)));
      break;
    case 0x8b:  // LONG4
      long_integer(take(take_number(4)));
      break;
    case 'F': {  // FLOAT
      const std::string line(take_line().substr(0, 64));
      char* end = nullptr;
      const double value = std::strtod(line.c_str(), &end);
      require(!line.empty() && end == line.c_str() + line.size(), "'{}' is no number", line);
      push_float(value);
      break;
    }
    case 'G': {  // BINFLOAT, big-endian
      const std::string_view text = take(8);
      std::uint64_t bits = 0;
      for (const char c : text) bits = bits << 8 | static_cast<unsigned char>(c);
      push_float(std::bit_cast<double>(bits));
      break;
    }

    case 'S':  // STRING
      quoted_string(take_line());
      break;
    case 'T':  // BINSTRING
      push_text(PickleKind::kString, take(take_number(4)));
      break;
    case 'U':  // SHORT_BINSTRING
      push_text(PickleKind::kString, take(take_number(1)));
      break;
    case 'V':  // UNICODE
      escaped_unicode(take_line());
      break;
    case 'X':  // BINUNICODE
      push_text(PickleKind::kString, take(take_number(4)));
      break;
    case 0x8c:  // SHORT_BINUNICODE
      push_text(PickleKind::kString, take(take_number(1)));
      break;
    case 0x8d:  // BINUNICODE8
      push_text(PickleKind::kString, take(take_number(8)));
      break;
    case 'B':  // BINBYTES
      push_text(PickleKind::kBytes, take(take_number(4)));
      break;
    case 'C':  // SHORT_BINBYTES
      push_text(PickleKind::kBytes, take(take_number(1)));
      break;
    case 0x8e:  // BINBYTES8
    case 0x96:  // BYTEARRAY8
      push_text(PickleKind::kBytes, take(take_number(8)));
      break;

    case ']':   // EMPTY_LIST
    case 0x8f:  // EMPTY_SET
      push(make(PickleKind::kList));
      break;
    case 'l':   // LIST
    case 0x91:  // FROZENSET
      push_items(PickleKind::kList, pop_to_mark());
      break;
    case 'a': {  // APPEND
      const Index item = pop();
      append(top(), {item});
      break;
    }
    case 'e':     // APPENDS
    case 0x90: {  // ADDITEMS
      std::vector<Index> items = pop_to_mark();
      append(top(), std::move(items));
      break;
    }
    case ')':  // EMPTY_TUPLE
      push(make(PickleKind::kTuple));
      break;
    case 't':  // TUPLE
      push_items(PickleKind::kTuple, pop_to_mark());
      break;
    case 0x85:  // TUPLE1
    case 0x86:  // TUPLE2
    case 0x87:  // TUPLE3
      push_items(PickleKind::kTuple, pop_last(opcode - 0x84u));
      break;
    case '}':  // EMPTY_DICT
      push(make(PickleKind::kDict));
      break;
    case 'd': {  // DICT
      std::vector<Index> items = pop_to_mark();
      push(make(PickleKind::kDict));
      set_items(top(), std::move(items));
      break;
    }
    case 's': {  // SETITEM
      std::vector<Index> items = pop_last(2);
      set_items(top(), std::move(items));
      break;
    }
    case 'u': {  // SETITEMS
      std::vector<Index> items = pop_to_mark();
      set_items(top(), std::move(items));
      break;
    }

    case 'p':  // PUT
      put(parse_decimal<std::uint64_t>(take_line()));
      break;
    case 'q':  // BINPUT
      put(take_number(1));
      break;
    case 'r':  // LONG_BINPUT
      put(take_number(4));
      break;
    case 0x94:  // MEMOIZE
      put(memo_.size());
      break;
    case 'g':  // GET
      get(parse_decimal<std::uint64_t>(take_line()));
      break;
    case 'h':  // BINGET
      get(take_number(1));
      break;
    case 'j':  // LONG_BINGET
      get(take_number(4));
      break;

    case 'c': {  // GLOBAL
      const std::string_view module = take_line();
      global(module, take_line());
      break;
    }
    case 0x93: {  // STACK_GLOBAL
      const std::vector<Index> names = pop_last(2);
      require(node(names[0]).kind == PickleKind::kString && node(names[1]).kind == PickleKind::kString,
              "a global whose name is no text");
      global(node(names[0]).text, node(names[1]).text);
      break;
    }
    case 'R':     // REDUCE
    case 0x81: {  // NEWOBJ
      const Index arguments = pop();
      call(pop(), arguments);
      break;
    }
    case 0x92: {  // NEWOBJ_EX: class, arguments, keyword arguments
      require(node(pop()).kind == PickleKind::kDict, "keyword arguments that are no dict");
      const Index arguments = pop();
      call(pop(), arguments);
      break;
    }
    case 'i':    // INST: the class follows by name
    case 'o': {  // OBJ: the class is the first after the mark
      std::vector<Index> items;
      if (opcode == 'i') {
        const std::string_view module = take_line();
        const std::string_view name = take_line();
        items = pop_to_mark();
        global(module, name);
      } else {
        items = pop_to_mark();
        require(!items.empty(), "an object without a class");
        push(items.front());
        items.erase(items.begin());
      }
      push_items(PickleKind::kTuple, std::move(items));
      const Index arguments = pop();
      call(pop(), arguments);
      break;
    }
    case 'b':  // BUILD
      build();
      break;
    case 'P':  // PERSID
      push_text(PickleKind::kString, take_line());
      push_items(PickleKind::kPersistent, pop_last(1));
      break;
    case 'Q':  // BINPERSID
      push_items(PickleKind::kPersistent, pop_last(1));
      break;

    case 0x82:  // EXT1
    case 0x83:  // EXT2
    case 0x84:  // EXT4
      refuse(ErrorKind::kUnsupported, "extension codes are not supported");
    case 0x97:  // NEXT_BUFFER
    case 0x98:  // READONLY_BUFFER
      refuse(ErrorKind::kUnsupported, "out-of-band buffers are not supported");
    default:
      refuse(ErrorKind::kFormat, fmt::format("opcode 0x{:02x} does not exist", opcode));
  }
  return true;
}

PickleTree PickleReader::run() {
  do {
    opcode_at_ = at_;
  } while (step(static_cast<unsigned char>(take(1)[0])));
  require(marks_.empty() && stack_.size() == 1, "ends with {} values on the stack, expected 1", stack_.size());
  tree_.root_ = stack_.back();
  tree_.end_ = at_;
  return std::move(tree_);
}

PickleTree parse_pickle(const SharedBytes& source, std::size_t start) {
  check(start <= source.size(), "pickle: {}: starts at byte {} of {}", source.name, start, source.size());
  return PickleReader(source, start).run();
}

}  // namespace usol::io
