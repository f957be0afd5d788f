using System;
using System.Collections.Generic;
using System.Linq;

namespace AdvContrast.Bench;

/// <summary>The command line is not understood.</summary>
internal sealed class UsageException(string message) : Exception(message);

/// <summary>The words of a command line, and its options <c>--name value</c>.</summary>
internal sealed class Options
{
    private readonly Dictionary<string, string> values = [];

    /// <param name="args">What follows the command.</param>
    /// <param name="names">The options with a value.</param>
    /// <param name="flags">The options without one.</param>
    internal Options(string[] args, string[] names, string[] flags)
    {
        var words = new List<string>();
        for (var i = 0; i < args.Length; i++)
        {
            if (flags.Contains(args[i])) values[args[i]] = "";
            else if (names.Contains(args[i]) && i + 1 < args.Length) values[args[i]] = args[++i];
            else if (!args[i].StartsWith("--")) words.Add(args[i]);
            else throw NotUnderstood(args[i], [.. names, .. flags]);
        }
        Words = words;
    }

    /// <summary>The words that are no options.</summary>
    internal IReadOnlyList<string> Words { get; }

    internal bool Has(string name) => values.ContainsKey(name);

    internal string Text(string name, string usual) => values.GetValueOrDefault(name) ?? usual;

    /// <summary>A whole number of at least a minimum.</summary>
    internal int Number(string name, int usual, int minimum) =>
        !values.TryGetValue(name, out var text) ? usual
        : int.TryParse(text, out var number) && number >= minimum ? number
        : throw new UsageException($"{name}: a whole number of at least {minimum} was expected");

    private static UsageException NotUnderstood(string word, string[] known) =>
        new($"{word} is not understood; options: {string.Join(", ", known)}");

    /// <summary>The words as items of a list by their names, or all items where there are no words.</summary>
    internal List<T> Choose<T>(string what, IReadOnlyList<T> all, Func<T, string> name)
    {
        var unknown = Words.FirstOrDefault(word => all.All(item => name(item) != word));
        return unknown is null
            ? [.. all.Where(item => Words.Count == 0 || Words.Contains(name(item)))]
            : throw new UsageException(
                $"no {what} is called {unknown}; there are: {string.Join(", ", all.Select(name))}");
    }
}
