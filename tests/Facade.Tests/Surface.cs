using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using AdvContrast;
using Expecto;
using static Expecto.CSharp.Runner;

/// <summary>What a C# user sees.</summary>
public static class Surface
{
    [Tests]
    public static Test Tests => TestList(
        "Surface",
        [
            TestCase("shows no F# type", NoFSharp),
            TestCase("lists methods, data sets and networks with a word on each", Lists),
        ]);

    private const BindingFlags all =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static
        | BindingFlags.DeclaredOnly;

    private static void NoFSharp()
    {
        var seen =
            from type in typeof(Workbench).Assembly.GetExportedTypes()
            from part in Types(type).SelectMany(Parts)
            where part.Namespace is { } home
                && (home.StartsWith("Microsoft.FSharp") || home.StartsWith("AdvContrast."))
            select $"{type.Name} shows {part.FullName}";
        Expect.isEmpty(seen.Distinct(), "types that C# must not see");
    }

    // The types that a type's public and protected members name.
    private static IEnumerable<Type> Types(Type type)
    {
        if (type.BaseType is { } parent) yield return parent;
        foreach (var shown in type.GetInterfaces()) yield return shown;
        foreach (var field in type.GetFields(all).Where(f => f.IsPublic || f.IsFamily))
            yield return field.FieldType;
        foreach (var method in type.GetMembers(all).OfType<MethodBase>().Where(m => m.IsPublic || m.IsFamily))
        {
            if (method is MethodInfo { ReturnType: var result }) yield return result;
            foreach (var parameter in method.GetParameters()) yield return parameter.ParameterType;
        }
    }

    // A type and what it is made of: Task<Accuracy[]> shows Accuracy.
    private static IEnumerable<Type> Parts(Type type) =>
        type.HasElementType
            ? Parts(type.GetElementType()!)
            : type.GetGenericArguments().SelectMany(Parts).Append(type);

    private static void Lists()
    {
        Expect.contains(Workbench.Methods.Select(m => m.Name), "acl-ds", "methods");
        Expect.isFalse(Workbench.Datasets.Single(d => d.Name == "sample").NeedsFolder, "it is embedded");
        Expect.equal(
            Workbench.Datasets.Where(d => !d.CanBeFetched).Select(d => d.Name).ToArray(), ["sample", "folder"],
            "what is embedded, and what is the user's own");
        Expect.contains(Workbench.Networks.Select(n => n.Name), "resnet18", "networks");
        Expect.isTrue(Workbench.Methods.All(m => m.Text.Contains(m.Citation)), "cards");
    }
}
